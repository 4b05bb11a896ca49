"""Sources of the type keboola: tables of a Keboola project, read through its Storage API."""
