"""Notifications: what people are notified of, and how.

The `collection` finds events in the records that runs and edits leave, and puts a notification for each person who
should hear of it into the `outbox`. From there, `delivery` sends it through the channels that the person has chosen
(`preferences`): mail, Slack (`channels`), Telegram (`telegram`). Pages and the API read the inbox, which is part of the
outbox. Every step may be repeated: the id of a notification is derived from its event, so one event is stored once.
"""
