"""The engine: renders, encodes and searches for the service, and takes new data into use."""
