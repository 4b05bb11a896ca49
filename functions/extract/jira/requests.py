"""What every request to a function of a Jira source may say."""

from analyst.extracting import RunId
from analyst.names import Name
from analyst.settings import Settings
from analyst.state.fields import Input


class SourceRequest(Input):
    """Of which source; of that which webhooks are of, when it is not given."""

    source: Name | None = None

    def source_in(self, settings: Settings) -> str:
        """Tell which source that is."""
        return self.source or settings.jira_source


class JobRequest(SourceRequest):
    """Of which source; of that which webhooks are of, when it is not given."""

    run_id: RunId | None = None
    """Under which the run is recorded; made when it is not given."""
