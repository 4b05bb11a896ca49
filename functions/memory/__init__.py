"""Corporate memory: the notes that people hand in."""
