"""The first installation: questions, the two files written from the answers, and the steps that follow."""
