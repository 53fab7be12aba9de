"""From a few labelled places to answers for all others, with honest scores."""
