# AI Data Analyst. `make help` lists the targets; each creates the environment that it needs.
PYTHON ?= python3
BIN := .venv/bin
REQ := infra/requirements

.DEFAULT_GOAL := help

# tests start hundreds of processes, each of which would compile all modules anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1|/' | column -t -s '|'

.venv/installed: $(REQ)/uv.txt $(REQ)/functions.txt $(REQ)/cli.txt $(REQ)/sources.txt $(REQ)/gateway.txt $(REQ)/dev.txt pyproject.toml shared/da/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r $(REQ)/uv.txt
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r $(REQ)/functions.txt -r $(REQ)/cli.txt -r $(REQ)/sources.txt -r $(REQ)/gateway.txt -r $(REQ)/dev.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --no-build-isolation --no-deps -e . -e shared/da
	$(BIN)/python infra/cli_wheel.py
	@touch $@

.venv-da/installed: .venv/installed $(REQ)/cli-newest.txt
	$(BIN)/uv venv -q --clear --no-project --python $(BIN)/python .venv-da
	$(BIN)/uv pip install -q --compile-bytecode --python .venv-da/bin/python --require-hashes -r $(REQ)/cli-newest.txt
	$(BIN)/uv pip install -q --python .venv-da/bin/python --no-build-isolation --no-deps -e shared/da
	@touch $@

.venv-engines/installed: .venv/installed $(REQ)/engines.txt
	$(BIN)/uv venv -q --clear --no-project --python $(BIN)/python .venv-engines
	$(BIN)/uv pip install -q --compile-bytecode --python .venv-engines/bin/python --require-hashes -r $(REQ)/engines.txt
	@touch $@

.venv-agents/installed .venv-agents-1/installed .venv-checkov/installed .venv-iceberg/installed .venv-sharing/installed .venv-terraform/installed .venv-ydata/installed: .venv-%/installed: .venv/installed $(REQ)/%.txt
	$(BIN)/uv venv -q --clear --no-project --python $(BIN)/python .venv-$*
	$(BIN)/uv pip install -q --compile-bytecode --python .venv-$*/bin/python --require-hashes -r $(REQ)/$*.txt
	@touch $@

.venv-pages/installed: .venv/installed $(REQ)/pages.txt
	$(BIN)/uv venv -q --clear --no-project --python $(BIN)/python .venv-pages
	$(BIN)/uv pip install -q --compile-bytecode --python .venv-pages/bin/python --require-hashes -r $(REQ)/functions.txt -r $(REQ)/cli.txt -r $(REQ)/sources.txt -r $(REQ)/dev.txt -r $(REQ)/pages.txt
	$(BIN)/uv pip install -q --python .venv-pages/bin/python --no-build-isolation --no-deps -e . -e shared/da
	@touch $@

.PHONY: env
env: .venv/installed ## create .venv, the environment of all other targets

.PHONY: configure
configure: ## write .env with generated secrets, for Docker Compose and make dev
	@if [ -e .env ]; then echo ".env exists already; nothing has changed"; else \
	  umask 077; secret() { $(PYTHON) -c 'import secrets; print(secrets.token_hex(32))'; }; \
	  sed -e "s/^SERVICE_TOKEN=$$/SERVICE_TOKEN=$$(secret)/" -e "s/^BOOTSTRAP_SECRET=$$/BOOTSTRAP_SECRET=$$(secret)/" \
	    -e "s/^SECRET_KEY=$$/SECRET_KEY=$$(secret)/" config/.env.template > .env.new && mv .env.new .env && \
	  echo "wrote .env, with generated secrets; config/.env.template explains every setting"; fi

.PHONY: demo
demo: env ## run the whole system once, on sample data or your files: make demo [DATA=dir OPTIONS="nullstr=NA"]
	@$(BIN)/python infra/cli_wheel.py
	$(BIN)/python infra/demo.py $(if $(DATA),--data "$(DATA)") $(foreach option,$(OPTIONS),--option "$(option)")

.PHONY: dev
dev: env ## serve all functions on the bucket .dev/bucket, and reload them on changes: make dev [PORT=8000 LOGS=json]
	@$(BIN)/python infra/cli_wheel.py
	@$(BIN)/python infra/dev.py $(if $(PORT),--port "$(PORT)") $(if $(LOGS),--logs "$(LOGS)")

.PHONY: pin-image
pin-image: ## look up the digest of the base image and write it to .env as PYTHON_IMAGE
	docker pull -q python:3.11-slim-bookworm
	@touch .env && chmod 600 .env && sed -i.old '/^PYTHON_IMAGE=/d' .env && rm -f .env.old
	@docker image inspect -f 'PYTHON_IMAGE={{index .RepoDigests 0}}' python:3.11-slim-bookworm | tee -a .env

.venv-openmetadata/installed: .venv/installed $(REQ)/openmetadata.txt $(REQ)/openmetadata-models.txt
	$(BIN)/uv venv -q --clear --no-project --python $(BIN)/python .venv-openmetadata
	$(BIN)/uv pip install -q --python .venv-openmetadata/bin/python --require-hashes -r $(REQ)/openmetadata.txt
	$(BIN)/uv pip install -q --python .venv-openmetadata/bin/python --no-deps --require-hashes -r $(REQ)/openmetadata-models.txt
	@touch $@

.venv-kbcstorage/installed: .venv/installed $(REQ)/kbcstorage.txt
	$(BIN)/uv venv -q --clear --no-project --python $(BIN)/python .venv-kbcstorage
	$(BIN)/uv pip install -q --python .venv-kbcstorage/bin/python --require-hashes -r $(REQ)/kbcstorage.txt
	@touch $@

.PHONY: kbcstorage
kbcstorage: .venv-kbcstorage/installed ## run Keboola's own client against the double of Keboola
	$(BIN)/pytest tests/integration/keboola/test_kbcstorage.py

.PHONY: lint
lint: env ## run ruff and mypy
	$(BIN)/ruff check -q .
	$(BIN)/ruff format -q --check .
	$(BIN)/mypy --no-error-summary

.PHONY: check
check: env ## run ruff, mypy and the fast unit tests
	@$(MAKE) --no-print-directory -j2 lint check-unit

# beside mypy, which uses one core
.PHONY: check-unit
check-unit: env
	$(BIN)/pytest tests/unit -m "not slow and not long" -n 2 --dist worksteal

.PHONY: test
test: env ## run ruff, mypy and the tests; those of `da` also with the newest DuckDB
	@$(MAKE) --no-print-directory -j2 test-all test-newest

# both at once, and three workers for two cores: tests that wait for a disk, a process or a clock leave their core to others
.PHONY: test-all test-newest
test-all: env
	PYTEST_TIMEOUT=600 $(BIN)/pytest -n 3 --dist worksteal -m "not long"
test-newest: lint .venv-da/installed
	.venv-da/bin/pytest tests/integration/da -m "duckdb and not server"

.PHONY: test-long
test-long: env ## run the tests that `make test` leaves out, and properties on more examples
	PYTEST_TIMEOUT=600 $(BIN)/pytest -n 2 --dist worksteal -m "long or hypothesis or many" --hypothesis-profile some

.PHONY: e2e
e2e: env .venv-checkov/installed .venv-terraform/installed .venv-engines/installed .venv-agents/installed .venv-agents-1/installed .venv-iceberg/installed .venv-sharing/installed .venv-openmetadata/installed .venv-pages/installed ## run long tests, the demo, containers, other engines, many processes at once and properties on many examples (takes over an hour, needs Docker)
	$(MAKE) test-long
	$(BIN)/pytest -n 2 --dist loadfile tests/e2e/faults
	$(BIN)/pytest tests/e2e --ignore tests/e2e/faults --ignore tests/e2e/pages
	$(MAKE) e2e-pages
	$(BIN)/pytest -n 2 --dist worksteal -m "hypothesis or many" --hypothesis-profile many
	GENERATED_STATEMENTS=20000 $(BIN)/pytest tests/integration/query/test_generated.py
	for seed in $$(seq 1 20); do SCHEMATHESIS_SEED=$$seed $(BIN)/pytest -n 2 tests/integration/test_schemathesis.py || exit 1; done

.PHONY: e2e-pages
e2e-pages: .venv-pages/installed ## walk all pages with a browser (needs Debian's chromium and chromium-driver, and npm)
	@$(BIN)/python infra/cli_wheel.py .venv-pages/share/ai-data-analyst
	.venv-pages/bin/pytest -n 2 --dist worksteal tests/e2e/pages

.PHONY: bench
bench: env ## run the benchmarks of tests/bench/README.md
	$(BIN)/python tests/bench/run.py

.PHONY: docs
docs: env ## generate shared/docs/cli.md from the commands
	$(BIN)/python infra/cli_reference.py

.PHONY: deployment
deployment: env ## generate what Terraform and Knative deploy from infra/services.yaml
	$(BIN)/python infra/deployment.py

.PHONY: costs
costs: env ## count requests to the bucket, and compute the tables of costs in infra/README.md
	$(BIN)/python infra/costs.py --measure

.PHONY: functions-table
functions-table: env ## start each function alone, in a process and in a container, test its contract, and write infra/functions.md (takes an hour; resumes)
	mkdir -p build
	FUNCTIONS_MEASURED=$(CURDIR)/build/functions.jsonl $(BIN)/pytest tests/e2e/test_each_function_alone.py
	$(BIN)/python -m tests.e2e.test_each_function_alone build/functions.jsonl > infra/functions.md
	rm build/functions.jsonl

.PHONY: lock
lock: env ## compile the pinned requirements in infra/requirements
	sh infra/requirements/compile.sh $(BIN)/uv

.PHONY: clean
clean: ## remove what make created, except .dev and .env
	rm -rf .venv .venv-da .venv-engines .venv-agents .venv-agents-1 .venv-checkov .venv-iceberg .venv-sharing .venv-kbcstorage .venv-openmetadata .venv-pages .venv-terraform .venv-ydata .demo .mypy_cache .ruff_cache .hypothesis build *.egg-info shared/*.egg-info
