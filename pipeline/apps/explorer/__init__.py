"""The parts of the explorer: what it computes (session), shows (panels) and answers (answers), and the page."""
