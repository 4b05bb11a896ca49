"""Corporate memory: notes that people hand in, and the items that are made of them or proposed, for all to see."""
