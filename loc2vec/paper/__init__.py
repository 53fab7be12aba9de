"""The reporting kit: pages, plots and pictures that commands write."""
