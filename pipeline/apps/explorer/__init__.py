"""The parts of the explorer: what it computes (view), its HTML (panels), its answers to events, and its page."""
