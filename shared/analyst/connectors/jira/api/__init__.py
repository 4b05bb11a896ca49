"""Jira's REST API: requests, paging, issues and fields."""
