# What people type. Anything longer than a line or two is a script.
.DELETE_ON_ERROR:
.PHONY: build web test faults soak nodes upgrade fuzz cluster-demo generate lint

build: web ## the program, as it is shipped
	STARLING_REQUIRE_UI=1 cargo build --profile dist

web: ## the page of a run, which builds of the program then embed; takes Node 20 or newer
	cd web && npm ci --ignore-scripts && npm run build

test: ## every test, with all they need: as root on Linux, or against STARLING_TEST_KUBECONFIG and STARLING_TEST_IMAGE
	tests/run.sh

faults: ## the operator killed at every one of its calls, and ten seeds of faults; STARLING_FAULT_SEED replays one. Hours
	STARLING_FAULT_ALL=1 STARLING_FAULT_ROUNDS=$${STARLING_FAULT_ROUNDS:-10} tests/one.sh faults::

soak: ## two hundred runs under one operator, whose memory and watches stay the same. An hour
	STARLING_SOAK_RUNS=$${STARLING_SOAK_RUNS:-200} tests/one.sh soak::

nodes: ## a node powered off under workers, then one under the master
	NODES=2 tests/one.sh nodes::workers nodes::a_master

upgrade: ## a run that the release before began (PREVIOUS=COMMIT) and this one ends
	PREVIOUS=$(PREVIOUS) tests/one.sh upgrade::

fuzz: ## the parsers of what others wrote, a minute each; takes a nightly compiler and cargo-fuzz
	fuzz/run.sh 60

cluster-demo: ## a cluster, the chart, a sample, and its verdict
	tests/demo.sh

generate: ## src/generated, crds/, the chart's copies, manifests/install.yaml and docs/loadtest.md
	cargo run --manifest-path tests/protos/Cargo.toml
	charts/generate.sh

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --lib --profile test --features test-hooks -- -D warnings
	RUSTDOCFLAGS="-D rustdoc::broken_intra_doc_links -D rustdoc::private_intra_doc_links" \
		cargo doc --no-deps --lib --document-private-items
