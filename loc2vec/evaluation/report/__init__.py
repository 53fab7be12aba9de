"""What was measured, told: tables of Markdown and one HTML page."""
