"""Scripts of people: what they push, list, pause and run, and the task that runs one."""
