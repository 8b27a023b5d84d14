# What people type. Anything longer than a line or two is a script.
.DELETE_ON_ERROR:
.PHONY: build test cluster-demo generate lint

build: ## the program, as it is shipped
	cargo build --release

test: ## every test, with all they need: as root on Linux, or against STARLING_TEST_KUBECONFIG and STARLING_TEST_IMAGE
	tests/run.sh

cluster-demo: ## a cluster, the chart, a sample, and its verdict
	tests/demo.sh

generate: ## crds/, the chart's copies, manifests/install.yaml and docs/loadtest.md
	charts/generate.sh

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
