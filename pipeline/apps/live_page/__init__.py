"""The page without installation: trained networks that a browser runs, and what they are shown with."""
