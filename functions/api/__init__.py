"""The API that people, agents and other programs use."""
