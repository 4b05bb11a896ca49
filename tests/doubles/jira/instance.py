"""An instance of Jira that changes while it is read: what people do to its issues."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.doubles.jira.contents import CUSTOM, Holding, item, person
from tests.doubles.jira.issues import Attachment, Issue, Link, Note, Sla


@dataclass
class Instance(Holding):
    """People act on it. Each act takes `tick` ms, and notes the webhooks that it sends in `webhooks`."""

    def create(self, project: str = "SUP", summary: str = "It does not work", **fields: Any) -> Issue:
        """Create an issue; `fields` are as in REST v2."""
        with self._act():
            id_ = self.next("issue", 10000)
            issue = Issue(id_, self._key(project), self.clock, self.clock, self._fields(project, summary, fields))
            self.issues[id_] = issue
            self._indexed(issue)
            self.emit("jira:issue_created", issue, issue_event_type_name="issue_created")
            return issue

    def edit(self, id_: str, **fields: Any) -> None:
        """Change fields of an issue, by their ids."""
        with self._act():
            issue = self._touched(id_)
            items = [item(name, issue.fields.get(name), value) for name, value in fields.items()]
            issue.fields |= fields
            self.changed(issue, items, "issue_assigned" if set(fields) == {"assignee"} else "issue_updated")

    def transition(self, id_: str, status: str) -> None:
        """Move an issue to a status; one that is done is resolved, and its SLAs have stopped."""
        with self._act():
            issue = self._touched(id_)
            items = [item("status", issue.fields["status"], status)]
            is_done = status == "Done"
            issue.fields |= {
                "status": status,
                "resolution": {"id": "10000", "name": "Done"} if is_done else None,
                "resolutiondate": self.clock if is_done else None,
            }
            for name, value in issue.fields.items():
                if isinstance(value, Sla):
                    issue.fields[name] = Sla(value.name, value.start, value.goal, self.clock if is_done else None)
            self.changed(issue, items, "issue_generic")

    def move(self, id_: str, project: str) -> None:
        """Move an issue to another project, where it gets a new key."""
        with self._act():
            issue = self._touched(id_)
            before, issue.key = issue.key, self._key(project)
            was = issue.fields["project"]["name"]
            issue.fields["project"] = self._project(project)
            self.changed(
                issue, [item("project", was, self.projects[project]), item("Key", before, issue.key)], "issue_moved"
            )

    def delete(self, id_: str) -> None:
        """Delete an issue with all that it has; what is deleted along with it is told later."""
        with self._act():
            issue = self._touched(id_)
            event = self.event("jira:issue_deleted", issue)
            del self.issues[id_]
            if not self.is_lagging:
                self.index.pop(id_, None)
            self.send(event)
            for note in issue.comments.values():
                self.noted("comment_deleted", issue, note, "Secondary")
            for link in [link for link in self.links.values() if id_ in {link.source, link.destination}]:
                del self.links[link.id]
                self.linked("issuelink_deleted", link, "Secondary")

    def comment(self, id_: str, text: str, author: Mapping[str, Any] | None = None) -> str:
        """Write a comment, and give its id."""
        with self._act():
            issue = self._touched(id_)
            note = Note(self.next("comment", 20000), text, author or person(2), self.clock, self.clock)
            issue.comments[note.id] = note
            self.noted("comment_created", issue, note)
            return note.id

    def edit_comment(self, id_: str, comment: str, text: str) -> None:
        """Change a comment."""
        with self._act():
            issue = self._touched(id_)
            note = issue.comments[comment] = copy.copy(issue.comments[comment])
            note.text, note.updated = text, self.clock
            self.noted("comment_updated", issue, note)

    def delete_comment(self, id_: str, comment: str) -> None:
        """Delete a comment."""
        with self._act():
            issue = self._touched(id_)
            self.noted("comment_deleted", issue, issue.comments.pop(comment))

    def log_work(self, id_: str, seconds: int, text: str = "") -> str:
        """Log work, and give its id."""
        with self._act():
            issue = self._touched(id_)
            note = Note(self.next("worklog", 30000), text, person(1), self.clock, self.clock, seconds)
            issue.worklogs[note.id] = note
            self.noted("worklog_created", issue, note)
            return note.id

    def delete_worklog(self, id_: str, worklog: str) -> None:
        """Delete logged work."""
        with self._act():
            issue = self._touched(id_)
            self.noted("worklog_deleted", issue, issue.worklogs.pop(worklog))

    def attach(self, id_: str, filename: str, data: bytes, mime_type: str = "text/plain") -> str:
        """Add a file, and give its id."""
        with self._act():
            issue = self._touched(id_)
            made = Attachment(self.next("attachment", 40000), filename, data, mime_type, person(1), self.clock)
            issue.attachments[made.id] = made
            self.attached("attachment_created", made)
            self.changed(issue, [item("Attachment", None, filename)], "issue_updated")
            return made.id

    def detach(self, id_: str, attachment: str) -> None:
        """Remove a file."""
        with self._act():
            issue = self._touched(id_)
            gone = issue.attachments.pop(attachment)
            self.attached("attachment_deleted", gone)
            self.changed(issue, [item("Attachment", gone.filename, None)], "issue_updated")

    def link(self, source: str, destination: str, kind: str = "Blocks") -> str:
        """Link two issues, and give the link's id."""
        with self._act():
            for id_ in (source, destination):
                self._touched(id_)
            link = Link(self.next("link", 50000), kind, source, destination)
            self.links[link.id] = link
            self.linked("issuelink_created", link)
            return link.id

    def unlink(self, id_: str) -> None:
        """Remove a link."""
        with self._act():
            link = self.links.pop(id_)
            for end in (link.source, link.destination):
                self._touched(end)
            self.linked("issuelink_deleted", link)

    def link_remotely(self, id_: str, url: str, title: str) -> None:
        """Link an issue to an address."""
        with self._act():
            issue = self._touched(id_)
            number = int(self.next("remote", 60000))
            shown = {"url": url, "title": title, "icon": {}, "status": {"icon": {}}}
            at = {"id": number, "self": f"{self.url}/rest/api/3/issue/{issue.key}/remotelink/{number}"}
            issue.remote_links.append(at | {"object": shown, "application": {"type": "com.wiki", "name": "Wiki"}})
            self.changed(issue, [item("RemoteIssueLink", None, title)], "issue_updated")

    def catch_up(self) -> None:
        """Let the search index be what the issues are, and stay so."""
        with self.turn:
            self.is_lagging = False
            self.edition += 1
            self.index = dict(self.issues)

    def reindex(self, id_: str) -> None:
        """Let the search index be right about one issue."""
        with self.turn:
            self.edition += 1
            if id_ in self.issues:
                self.index[id_] = self.issues[id_]
            else:
                self.index.pop(id_, None)

    @contextmanager
    def _act(self) -> Iterator[None]:
        """One act at a time; its webhooks are told when it is done."""
        with self.turn:
            self.clock += self.tick
            self.edition += 1
            sent = len(self.webhooks)
            yield
        for each in self.webhooks[sent:]:
            self.listen(each)

    def _key(self, project: str) -> str:
        return f"{project}-{self.next(f'key of {project}', 1)}"

    def _project(self, key: str) -> dict[str, Any]:
        id_ = str(10000 + [*self.projects].index(key))
        kind = "service_desk" if key == "SUP" else "software"
        return {
            "self": f"{self.url}/rest/api/2/project/{id_}",
            "id": id_,
            "key": key,
            "name": self.projects[key],
            "projectTypeKey": kind,
        }

    def _fields(self, project: str, summary: str, more: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "summary": summary,
            "description": None,
            "environment": None,
            "project": self._project(project),
            "issuetype": {"id": "10002", "name": "Task", "subtask": False},
            "priority": {"id": "3", "name": "Medium"},
            "status": "To Do",
            "resolution": None,
            "resolutiondate": None,
            "creator": person(1, has_email=True),
            "reporter": person(1, has_email=True),
            "assignee": None,
            "labels": [],
            "components": [],
            "fixVersions": [],
            "versions": [],
            "subtasks": [],
            "duedate": None,
            "votes": {"votes": 0, "hasVoted": False},
            "watches": {"watchCount": 1, "isWatching": True},
            **{id_: None for id_, *_ in CUSTOM},
            **more,
        }

    def _touched(self, id_: str) -> Issue:
        """Return an issue that changes now; an index that lags keeps it as it was."""
        issue = self.issues[id_]
        if self.is_lagging and self.index.get(id_) is issue:
            self.index[id_] = copy.deepcopy(issue)
        issue.updated = self.clock
        self._indexed(issue)
        return issue

    def _indexed(self, issue: Issue) -> None:
        if not self.is_lagging:
            self.index[issue.id] = issue
