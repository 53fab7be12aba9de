"""Reading extracts in a process whose time and memory are bounded."""
