"""Pictures that show what was learned, and the data behind them."""
