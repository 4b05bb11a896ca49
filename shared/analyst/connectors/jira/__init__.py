"""The connector of Jira: every issue of one instance, from its webhooks and its REST API."""
