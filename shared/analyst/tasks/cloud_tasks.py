"""Delivery by Cloud Tasks, for functions whose processes are frozen after an answer, such as those on Cloud Run.

A task of Cloud Tasks is a call of the function with the id of a task in the ledger. The ledger counts the attempts and
sets the pauses between them; Cloud Tasks repeats a call only if nobody answers it.
"""

import hashlib
import threading
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from analyst.errors import SettingsError, UnavailableError
from analyst.settings import Settings
from analyst.tasks.delivery import Send
from analyst.tasks.ledger import Task
from analyst.tasks.runner import TASK_ID

if TYPE_CHECKING:
    from google.cloud.tasks_v2 import CloudTasksClient

LONGEST_CALL: Final = 1800
"""In seconds: the longest deadline that Cloud Tasks allows; afterwards it calls again."""
_EPOCH: Final = 600
"""In seconds. A lost call is made again under a new name, at most once in this time, however many processes notice."""


class CloudTasks:
    """Delivers tasks through the queue of the settings. The client, which imports gRPC, is made when it is needed."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._making = threading.Lock()

    def deliver(self, task: Task, send: Send) -> None:  # noqa: ARG002 - Cloud Tasks sends it
        """Create a call. If one exists under this name, it is this one.

        Raises:
            UnavailableError: Cloud Tasks does not respond, or refuses it.
            SettingsError: the settings do not describe a queue.
        """
        self._create(task, "")

    def redeliver(self, task: Task, send: Send) -> None:  # noqa: ARG002
        """Create another call of a task whose last one was lost."""
        self._create(task, str(int(self._now().timestamp()) // _EPOCH))

    def _create(self, task: Task, epoch: str) -> None:
        from google.api_core.exceptions import AlreadyExists, GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        try:
            self._client.create_task(request=self._request(task, epoch), timeout=20.0)
        except AlreadyExists:
            return
        except (GoogleAPIError, GoogleAuthError) as error:
            raise UnavailableError(
                f"the task for {task.path} could not be handed to Cloud Tasks: {str(error)[:300]}; check the queue "
                f"'{self._settings.tasks_queue}' and the roles of this service"
            ) from error

    def _request(self, task: Task, epoch: str) -> dict[str, Any]:
        settings = self._settings
        url, audience = settings.tasks_url or settings.base_url, settings.service_audience or settings.base_url
        if settings.tasks_queue is None or settings.tasks_account is None or url is None or audience is None:
            raise SettingsError("TASKS=cloud needs TASKS_QUEUE, TASKS_ACCOUNT and BASE_URL; set them")
        name = hashlib.sha256(f"{task.id} {task.edit} {epoch}".encode()).hexdigest()[:40]
        headers = {"Content-Type": "application/json", TASK_ID: task.id}
        if task.trace is not None:
            headers["traceparent"] = task.trace
        call: dict[str, Any] = {
            "name": f"{settings.tasks_queue}/tasks/{name}",
            "dispatch_deadline": {"seconds": LONGEST_CALL},
            "http_request": {
                "url": url.rstrip("/") + task.path,
                "http_method": "POST",
                "headers": headers,
                "body": b"{}",
                "oidc_token": {
                    "service_account_email": settings.tasks_account,
                    "audience": audience.rstrip("/"),
                },
            },
        }
        if task.due > self._now():
            call["schedule_time"] = task.due
        return {"parent": settings.tasks_queue, "task": call}

    @cached_property
    def _client(self) -> "CloudTasksClient":
        from google.cloud.tasks_v2 import CloudTasksClient

        with self._making:
            if self._settings.tasks_endpoint is None:
                return CloudTasksClient()
            import grpc
            from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

            address = self._settings.tasks_endpoint.removeprefix("http://").rstrip("/")
            return CloudTasksClient(transport=CloudTasksGrpcTransport(channel=grpc.insecure_channel(address)))
