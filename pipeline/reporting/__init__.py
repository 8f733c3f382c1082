"""How results are put for people: as text, in sentences, on a page."""
