"""The parts of the explorer: what it computes (session), how it shows that (panels), and the page."""
