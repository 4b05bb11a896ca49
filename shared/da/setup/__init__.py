"""The first installation: what is asked, the two files that are written, and the steps that follow."""
