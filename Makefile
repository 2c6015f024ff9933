SHELL := bash
LOCK := --universal --python-version 3.11 --generate-hashes --no-header

.PHONY: check test format lock example

check:  ## lint, format, tests with coverage: what every change must pass
	./.ci/run

test:
	./run_tests.sh

format:
	. ./setup.sh && "$$PYTHON" -m ruff check --fix . && "$$PYTHON" -m ruff format .

lock:  ## requirements.in -> requirements.txt, and the few of predict.py and app.py in the same versions
	@command -v uv >/dev/null || { echo 'uv is needed: `pip install uv`, outside of this project, or https://docs.astral.sh/uv' >&2; exit 1; }
	uv pip compile $(LOCK) --no-strip-extras requirements.in -o requirements.txt
	uv pip compile $(LOCK) --no-deps -c requirements.txt -c requirements-no-deps.txt requirements-predict.in -o requirements-predict.txt
	uv pip compile $(LOCK) --no-strip-extras -c requirements.txt requirements-app.in -o requirements-app.txt

example:  ## docs/example_report.html and its records, out of what ./run_me.sh left of the demo data
	. ./setup.sh && "$$PYTHON" make_report.py --output docs/example_report.html --width 480 --no-pdf && cd out && \
		"$$PYTHON" -m zipfile -c ../docs/example_records.zip *.json *.csv scores metrics comparisons audits faithfulness
