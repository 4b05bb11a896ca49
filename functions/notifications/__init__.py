"""Notifications: the inbox of people, their preferences, the bot of Telegram, and the tasks that find and send them."""
