"""The graph as a picture, and as a page for a browser."""
