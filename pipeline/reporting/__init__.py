"""Results for people: as tables, in sentences, and on a page."""
