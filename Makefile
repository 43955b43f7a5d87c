# make demo, make test: the two commands of the README. Everything runs in .venv, which is made when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := bench_peers
VIEWER := viewer_files

# Waiting threads sleep: with spinning ones a second busy process makes torch several times slower.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test coverage test-all bench study-classifiers study-certificates study-interpreters study-robust-map study-defaults study-denoiser study-attack study-lungs study-lung-alarm study-lung-claims study-metrics study-any-file study-attention lint wheel clean
.DEFAULT_GOAL := test

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,lint]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -m monai_robustinterp certify sample_data --output demo_output --overwrite

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 -m "not slow"

coverage: $(INSTALLED)
	$(BIN)/python -m coverage run -m pytest -n 2 -m "not slow"
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --show-missing --precision 2

test-all: $(INSTALLED) $(VIEWER)
	$(BIN)/python -m pytest -n 2

# The viewer of the tests, built (50 MB); without npm or a network its test is skipped and says so.
$(VIEWER):
	-mkdir $@.new && cd $@.new && npm pack --silent @ohif/app@3.13.2 && tar -xzf ohif-app-*.tgz && rm ohif-app-*.tgz && mv ../$@.new ../$@

# Peers of the bench stay outside of the environment; without them (no network, say) it leaves them out and says so.
# zennit wants torchvision, of which the bench needs nothing.
$(PEERS): | $(INSTALLED)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ zennit==0.5.1

bench: $(INSTALLED) $(PEERS)
	PYTHONPATH=$(PEERS) $(BIN)/python -m benchmarks.speed bench_output

# Folders of the training images (docs/how-to/train.md).
KERMANY_DIR ?= kermany
CHEST_XRAY14_DIR ?= chest_xray14

study-classifiers: $(INSTALLED)
	$(BIN)/python -m benchmarks.classifiers study_output/classifiers --kermany $(KERMANY_DIR) --chest-xray14 $(CHEST_XRAY14_DIR)

study-certificates: $(INSTALLED)
	$(BIN)/python -m benchmarks.certificates study_output/certificates

study-interpreters: $(INSTALLED)
	$(BIN)/python -m benchmarks.interpreters study_output/interpreters

study-robust-map: $(INSTALLED)
	$(BIN)/python -m benchmarks.robust_activation_map study_output/robust_activation_map --images $(CHEST_XRAY14_DIR)

study-defaults: $(INSTALLED)
	$(BIN)/python -m benchmarks.defaults study_output/defaults --kermany $(KERMANY_DIR) --chest-xray14 $(CHEST_XRAY14_DIR)

study-denoiser: $(INSTALLED)
	$(BIN)/python -m benchmarks.denoiser study_output/denoiser --kermany $(KERMANY_DIR) --chest-xray14 $(CHEST_XRAY14_DIR)

study-attack: $(INSTALLED)
	$(BIN)/python -m benchmarks.attack study_output/attack --chest-xray14 $(CHEST_XRAY14_DIR)

# Masks of the Kermany images, the other set with its masks, and weights of the network that learned a planted letter.
MASKS_DIR ?= kermany_masks
COVID_DIR ?= covid_v7
SHORTCUT ?=

study-lungs: $(INSTALLED)
	$(BIN)/python -m benchmarks.lungs study_output/lungs --kermany $(KERMANY_DIR) --chest-xray14 $(CHEST_XRAY14_DIR) --masks $(MASKS_DIR) --covid $(COVID_DIR) $(if $(SHORTCUT),--shortcut $(SHORTCUT))

study-lung-alarm: $(INSTALLED)
	$(BIN)/python -m benchmarks.lungs.alarm study_output/lung_alarm --kermany $(KERMANY_DIR) --chest-xray14 $(CHEST_XRAY14_DIR) --shortcut $(SHORTCUT)

study-lung-claims: $(INSTALLED)
	$(BIN)/python -m benchmarks.lungs.claims study_output/lung_claims --kermany $(KERMANY_DIR) --chest-xray14 $(CHEST_XRAY14_DIR)

# About an hour; with FULL=1 all films, for many hours. A run that was ended goes on.
FULL ?=

study-metrics: $(INSTALLED)
	$(BIN)/python -m benchmarks.metrics study_output/metrics --kermany $(KERMANY_DIR) --chest-xray14 $(CHEST_XRAY14_DIR) --workers 2 $(if $(FULL),--full)

# The wheel pydicom-data, unpacked, if it is to be tried too (pip download --no-deps pydicom-data).
PYDICOM_DATA ?=

study-any-file: $(INSTALLED)
	$(BIN)/python -m benchmarks.any_file study_output/any_file $(if $(PYDICOM_DATA),--pydicom-data $(PYDICOM_DATA))

# Seconds of the walk along the shipped classifier, and points there that are evaluated; a second run goes on.
SECONDS_OF_WALK ?= 900
POINTS ?= 200

study-attention: $(INSTALLED)
	$(BIN)/python -m benchmarks.attention study_output/attention --workers 2 --seconds $(SECONDS_OF_WALK) --samples $(POINTS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: $(INSTALLED)
	$(BIN)/python -m build --no-isolation --wheel --outdir dist

clean:
	rm -rf $(VENV) $(PEERS) $(VIEWER) $(VIEWER).new dist build demo_output bench_output study_output
