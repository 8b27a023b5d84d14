# What people type. Anything longer than a line or two is a script.
.DELETE_ON_ERROR:
.PHONY: build test fuzz cluster-demo generate lint

build: ## the program, as it is shipped
	cargo build --profile dist

test: ## every test, with all they need: as root on Linux, or against STARLING_TEST_KUBECONFIG and STARLING_TEST_IMAGE
	tests/run.sh

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
