"""The explorer's parts: what it computes, how it shows that, and the page."""
