SHELL := bash

.PHONY: check test format lock example

check:  ## lint, format, tests with coverage: what every change must pass
	./.ci/run

test:
	./run_tests.sh

format:
	. ./setup.sh && "$$PYTHON" -m ruff check --fix . && "$$PYTHON" -m ruff format .

lock:  ## requirements.in -> requirements.txt
	@command -v uv >/dev/null || { echo 'uv is needed: `pip install uv`, outside of this project, or https://docs.astral.sh/uv' >&2; exit 1; }
	uv pip compile --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-header requirements.in -o requirements.txt

example:  ## docs/example_report.html and its records, out of what ./run_me.sh left of the demo data
	. ./setup.sh && "$$PYTHON" make_report.py --output docs/example_report.html --width 480 --no-pdf && cd out && \
		"$$PYTHON" -m zipfile -c ../docs/example_records.zip *.json *.csv scores metrics comparisons audits
