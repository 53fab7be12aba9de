"""Random damage and hostile content: one line of error, no signal, no hang, no flood of memory."""
