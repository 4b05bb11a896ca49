"""The WebSocket gateway: sends notifications at once to people's connected programs.

It is a server of its own, `python -m analyst.gateway`, because a function can't hold a connection for hours. It reads
the outbox, so any number of instances can run, and none has to know of the others.
"""
