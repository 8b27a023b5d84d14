//! Descriptors of services and messages, from `.proto` texts, descriptor sets or a server's
//! reflection, and the methods found in them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use flate2::read::GzDecoder;
use prost::Message;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DescriptorPool, MessageDescriptor, ServiceDescriptor};
use protox::Compiler;
use protox::file::{File, FileResolver, GoogleFileResolver};
use sha2::{Digest, Sha256};

use super::built_in::BuiltIn;
use super::{Method, edition, listed};
use crate::plan::Problem;

/// Largest size of a test's files together, in bytes, uncompressed.
pub const MAX_BYTES: usize = 16 << 20;

/// Service that reports the health of others, known whether or not a test has its file.
pub const HEALTH: &str = "grpc.health.v1.Health";

/// <https://github.com/grpc/grpc/blob/master/src/proto/grpc/health/v1/health.proto>
const HEALTH_PROTO: (&str, &str) = ("grpc/health/v1/health.proto", include_str!("health.proto"));

/// Bytes of a file, and the field of the test that names it.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Path by which other files import a `.proto` file; of a set, anything.
    pub path: String,
    /// Field of the test, for messages.
    pub field: String,
    /// Content of the file.
    pub bytes: Vec<u8>,
}

/// Every service and message that is known.
#[derive(Debug, Clone, Default)]
pub struct Descriptors {
    pool: DescriptorPool,
    offer: Offer,
}

/// Origin of the list of services, for messages about one that is missing.
#[derive(Debug, Clone, Default)]
enum Offer {
    /// The test's own files.
    #[default]
    Files,
    /// The target's reflection, with the services that it lists, if it answered that question.
    Target(Option<BTreeSet<String>>),
}

/// A method with the types of its messages.
#[derive(Debug, Clone)]
pub struct Rpc {
    /// Directions in which it streams.
    pub kind: CallKind,
    /// Type of the messages that the client sends.
    pub input: MessageDescriptor,
    /// Type of the messages that the server sends.
    pub output: MessageDescriptor,
}

/// Directions in which a method streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// One message each way.
    Unary,
    /// One message from the client, any number from the server.
    ServerStreaming,
    /// Any number of messages from the client, one from the server.
    ClientStreaming,
    /// Any number of messages each way.
    Bidirectional,
}

impl CallKind {
    /// Tells whether the client may send more than one message.
    pub fn client_streams(self) -> bool {
        matches!(self, Self::ClientStreaming | Self::Bidirectional)
    }

    /// Tells whether the server may send more than one message.
    pub fn server_streams(self) -> bool {
        matches!(self, Self::ServerStreaming | Self::Bidirectional)
    }
}

impl Descriptors {
    /// Compiles `.proto` texts and descriptor sets; the texts may import files of the sets. If
    /// `wanted` names any texts, only these are compiled, with all that they import.
    pub fn compile(
        texts: &[Source],
        sets: &[Source],
        wanted: &[String],
    ) -> Result<Self, Vec<Problem>> {
        let mut library = Library::default();
        let mut problems: Vec<Problem> = texts
            .iter()
            .filter_map(|text| library.add_text(text).err())
            .collect();
        let mut set_files = Vec::new();
        for Source {
            path: _,
            field,
            bytes,
        } in sets
        {
            match read_set(bytes) {
                Ok(files) => set_files.extend(
                    files
                        .into_iter()
                        .map(|file| (file.name().to_owned(), field.clone(), file)),
                ),
                Err(why) => problems.push(Problem::new(field, why)),
            }
        }
        let mut roots: Vec<(String, String)> = texts
            .iter()
            .map(|source| (source.path.clone(), source.field.clone()))
            .collect();
        if !wanted.is_empty() {
            roots.retain(|(path, _)| wanted.contains(path));
        }
        for (name, field, file) in set_files {
            roots.push((name.clone(), field));
            // a file of two sets is that of the first; a text goes before both
            library.files.entry(name).or_insert(file);
        }
        library.compile(&roots, problems)
    }

    /// Builds descriptors from the files that a server's reflection returns, each an encoded
    /// `FileDescriptorProto`. `offered` are the services that the server lists, if it answered that
    /// question.
    pub fn of_reflection(
        files: impl IntoIterator<Item = Vec<u8>>,
        offered: Option<BTreeSet<String>>,
    ) -> Result<Self, String> {
        let mut library = Library::default();
        for bytes in files {
            let file = edition::decode(&bytes)
                .map_err(|e| format!("what reflection gave is no file descriptor: {e}"))?;
            library.files.entry(file.name().to_owned()).or_insert(file);
        }
        let roots: Vec<(String, String)> = library
            .files
            .keys()
            .map(|name| (name.clone(), String::new()))
            .collect();
        let compiled = library.compile(&roots, vec![]);
        let compiled = compiled.map_err(|problems| {
            problems
                .first()
                .map(|problem| problem.message.clone())
                .unwrap_or_default()
        })?;
        Ok(Self {
            offer: Offer::Target(offered),
            ..compiled
        })
    }

    /// Builds the descriptors of the health service alone.
    pub fn of_health() -> Self {
        let library = Library {
            texts: [(HEALTH_PROTO.0.to_owned(), HEALTH_PROTO.1.to_owned())].into(),
            ..Library::default()
        };
        library
            .compile(&[(HEALTH_PROTO.0.to_owned(), String::new())], vec![])
            .expect("the file is part of the program")
    }

    /// Finds the type of a message by its full name.
    pub fn message(&self, name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(name)
    }

    /// Returns whether a message may hold an `Any`.
    pub fn know_any(&self) -> bool {
        self.message("google.protobuf.Any").is_some()
    }

    /// Looks up a method. The error names the services or methods that exist instead.
    pub fn rpc(&self, method: &Method) -> Result<Rpc, String> {
        let Method {
            service: service_name,
            name,
        } = method;
        let service = match self.pool.get_service_by_name(service_name) {
            Some(service) => service,
            None if service_name == HEALTH => return Self::of_health().rpc(method),
            None => return Err(self.no_service(service_name)),
        };
        let method = service.methods().find(|known| known.name() == name);
        let method = method.ok_or_else(|| {
            let known: Vec<String> = service
                .methods()
                .map(|known| known.name().to_owned())
                .collect();
            format!(
                "{service_name} has no method {name:?}; it has {}",
                listed(known.iter().map(String::as_str))
            )
        })?;
        let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
            (false, false) => CallKind::Unary,
            (false, true) => CallKind::ServerStreaming,
            (true, false) => CallKind::ClientStreaming,
            (true, true) => CallKind::Bidirectional,
        };
        Ok(Rpc {
            kind,
            input: method.input(),
            output: method.output(),
        })
    }

    fn no_service(&self, name: &str) -> String {
        let described: BTreeSet<String>;
        let known = match &self.offer {
            Offer::Target(Some(offered)) => offered,
            Offer::Target(None) => {
                return format!("the target's reflection knows no service {name:?}");
            }
            Offer::Files => {
                described = self.services().collect();
                &described
            }
        };
        if known.contains(name) {
            return format!(
                "the target offers {name}, but its reflection does not describe it; give its .proto file in spec.protos"
            );
        }
        // most often the package is missing, or the name is spelled as in code
        let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_lowercase();
        let alike = known.iter().find(|other| last(other) == last(name));
        let all = listed(known.iter().map(String::as_str));
        match (&self.offer, alike) {
            (Offer::Files, Some(alike)) => {
                format!("there is no service {name:?}; did you mean {alike}?")
            }
            (Offer::Files, None) => format!("there is no service {name:?}; there are {all}"),
            (Offer::Target(_), Some(alike)) => {
                format!("the target has no service {name:?}; did you mean {alike}? It offers {all}")
            }
            (Offer::Target(_), None) => {
                format!("the target has no service {name:?}; it offers {all}")
            }
        }
    }

    /// Full names of all services, in the order of their files.
    pub fn services(&self) -> impl Iterator<Item = String> {
        self.pool
            .services()
            .map(|service: ServiceDescriptor| service.full_name().to_owned())
    }

    /// SHA-256 in hexadecimal over all files without comments and positions, by which workers find
    /// out that they know the same.
    pub fn hash(&self) -> String {
        let files = self.pool.file_descriptor_protos();
        let files: BTreeMap<&str, &FileDescriptorProto> =
            files.map(|file| (file.name(), file)).collect();
        let mut hash = Sha256::new();
        for file in files.into_values() {
            let bytes = FileDescriptorProto {
                source_code_info: None,
                ..file.clone()
            }
            .encode_to_vec();
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(&bytes);
        }
        data_encoding::HEXLOWER.encode(&hash.finalize())
    }
}

/// Files by the path that imports use.
#[derive(Default)]
struct Library {
    texts: BTreeMap<String, String>,
    files: BTreeMap<String, FileDescriptorProto>,
}

impl Library {
    /// Adds a `.proto` file. Fails if it is no text, or if there is one of its path already.
    fn add_text(&mut self, Source { path, field, bytes }: &Source) -> Result<(), Problem> {
        let text = std::str::from_utf8(bytes).map_err(|_| {
            Problem::new(
                field,
                "is not UTF-8 text, so no .proto file; descriptor sets go into descriptorSets",
            )
        })?;
        match self.texts.insert(path.clone(), text.to_owned()) {
            Some(_) => Err(Problem::new(field, format!("{path} is there twice"))),
            None => Ok(()),
        }
    }

    /// `roots` are paths and where the test names them.
    fn compile(
        self,
        roots: &[(String, String)],
        mut problems: Vec<Problem>,
    ) -> Result<Descriptors, Vec<Problem>> {
        let mut compiler = Compiler::with_file_resolver(self);
        for (path, field) in roots {
            if let Err(error) = compiler.open_file(path) {
                // its Debug form is what a compiler prints: file, line, column, message
                let message = format!("{error:?}");
                // a mistake in a file that several others import is reported once
                if !problems.iter().any(|problem| problem.message == message) {
                    problems.push(Problem::new(field, message));
                }
            }
        }
        if problems.is_empty() {
            Ok(Descriptors {
                pool: compiler.descriptor_pool(),
                offer: Offer::Files,
            })
        } else {
            Err(problems)
        }
    }
}

impl FileResolver for Library {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match (self.texts.get(name), self.files.get(name)) {
            (Some(text), _) => read_text(name, text),
            (None, Some(file)) => Ok(File::from_file_descriptor_proto(file.clone())),
            (None, None) => GoogleFileResolver::new()
                .open_file(name)
                .or_else(|_| BuiltIn.open_file(name)),
        }
    }
}

fn read_text(name: &str, text: &str) -> Result<File, protox::Error> {
    let Some(proto3) =
        edition::as_proto3(name, text).map_err(|why| protox::Error::new(EditionError(why)))?
    else {
        return File::from_source(name, text);
    };
    let file = File::from_source(name, &proto3)?
        .file_descriptor_proto()
        .clone();
    let lowered = edition::lower(file)
        .map_err(|why| protox::Error::new(EditionError(format!("{name}: {why}"))))?;
    Ok(File::from_file_descriptor_proto(lowered))
}

/// Mistake in a file. Its Debug form is the message, since that is the form in which errors of
/// files are shown.
#[derive(thiserror::Error)]
#[error("{0}")]
struct EditionError(String);

impl std::fmt::Debug for EditionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A `FileDescriptorSet` whose files are read one by one.
#[derive(Clone, PartialEq, Message)]
struct Set {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

fn read_set(bytes: &[u8]) -> Result<Vec<FileDescriptorProto>, String> {
    let mut unpacked = Vec::new();
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut reader = GzDecoder::new(bytes).take(MAX_BYTES as u64 + 1);
        reader
            .read_to_end(&mut unpacked)
            .map_err(|e| format!("cannot be decompressed: {e}"))?;
        unpacked.as_slice()
    } else {
        bytes
    };
    if bytes.len() > MAX_BYTES {
        return Err(format!(
            "is larger than {} MiB, which is all that descriptors may be",
            MAX_BYTES >> 20
        ));
    }
    let no_set = |why: String| {
        format!("is no descriptor set, as protoc --descriptor_set_out writes it: {why}")
    };
    let set = Set::decode(bytes).map_err(|e| no_set(e.to_string()))?;
    let files: Vec<FileDescriptorProto> = set
        .files
        .iter()
        .map(|file| edition::decode(file))
        .collect::<Result<_, _>>()
        .map_err(no_set)?;
    match files.iter().any(|file| !file.name().is_empty()) {
        true => Ok(files),
        false => Err(no_set("there is no file in it".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use prost_reflect::prost_types::FileDescriptorSet;

    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            field: format!("spec.protos[{path}]"),
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn compiled(texts: &[Source]) -> Result<Descriptors, Vec<String>> {
        Descriptors::compile(texts, &[], &[])
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    const API: &str = r#"
        syntax = "proto3";
        package shop.v1;
        import "shop/types.proto";
        import "google/protobuf/timestamp.proto";
        service Orders {
          rpc Get(Query) returns (shop.Order);
          rpc Watch(Query) returns (stream shop.Order);
          rpc Put(stream shop.Order) returns (Query);
          rpc Talk(stream Query) returns (stream Query);
        }
        message Query { string id = 1; google.protobuf.Timestamp since = 2; }
    "#;
    const TYPES: &str = "syntax = \"proto3\"; package shop; message Order { string id = 1; }";

    fn shop() -> Descriptors {
        compiled(&[
            source("shop/api.proto", API),
            source("shop/types.proto", TYPES),
        ])
        .unwrap()
    }

    fn rpc(descriptors: &Descriptors, method: &str) -> Result<Rpc, String> {
        descriptors.rpc(&Method::parse(method).unwrap())
    }

    #[test]
    fn a_missing_import_is_named_with_file_and_line() {
        let problems = compiled(&[source("shop/api.proto", API)]).unwrap_err();
        assert_eq!(
            problems,
            [
                "spec.protos[shop/api.proto]: shop/api.proto:4:9: import 'shop/types.proto' not found"
            ]
        );
    }

    #[test]
    fn a_mistake_in_a_file_has_line_and_column_and_is_told_once() {
        let broken = "syntax = \"proto3\";\nmessage Order {\n  strin id = 1;\n}";
        let problems = compiled(&[
            source("shop/types.proto", broken),
            source("shop/api.proto", API),
        ])
        .unwrap_err();
        assert!(
            problems[0].starts_with(
                "spec.protos[shop/types.proto]: shop/types.proto:3:3: name 'strin' is not defined"
            ),
            "{problems:?}"
        );
        assert_eq!(problems.len(), 1, "{problems:?}");
        let problems =
            compiled(&[source("a.proto", "syntax = \"proto3\";\nmessage {}")]).unwrap_err();
        assert!(problems[0].contains("a.proto:2:9: "), "{problems:?}");
    }

    #[test]
    fn what_is_no_text_or_no_set_is_refused() {
        let bytes = Source {
            bytes: vec![0xff, 0xfe],
            ..source("a.proto", "")
        };
        assert!(compiled(&[bytes]).unwrap_err()[0].contains("descriptorSets"));
        for bytes in [
            b"syntax = \"proto3\";".to_vec(),
            vec![],
            vec![0x1f, 0x8b, 0, 0],
        ] {
            let set = Source {
                bytes,
                ..source("set", "")
            };
            let problems = Descriptors::compile(&[], &[set], &[]).unwrap_err();
            assert_eq!(problems[0].path, "spec.protos[set]");
        }
    }

    #[test]
    fn imports_in_a_circle_end() {
        let a = source("a.proto", "import \"b.proto\";");
        let b = source("b.proto", "import \"a.proto\";");
        assert!(compiled(&[a, b]).unwrap_err()[0].contains("cycle"));
    }

    #[test]
    fn an_unknown_service_or_method_names_what_there_is() {
        assert_eq!(
            rpc(&shop(), "Orders/Get").unwrap_err(),
            "there is no service \"Orders\"; did you mean shop.v1.Orders?"
        );
        assert_eq!(
            rpc(&shop(), "shop.v1.Order/Get").unwrap_err(),
            "there is no service \"shop.v1.Order\"; there are shop.v1.Orders"
        );
        let message = rpc(&shop(), "shop.v1.Orders/get").unwrap_err();
        assert_eq!(
            message,
            "shop.v1.Orders has no method \"get\"; it has Get, Watch, Put, Talk"
        );
    }

    #[test]
    fn a_service_that_a_target_does_not_describe_is_told_with_what_it_offers() {
        let error_of = |offered: Option<&[&str]>| {
            let offered =
                offered.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            rpc(
                &Descriptors::of_reflection([], offered).unwrap(),
                "shop.Orders/Get",
            )
            .unwrap_err()
        };
        assert_eq!(
            error_of(None),
            "the target's reflection knows no service \"shop.Orders\""
        );
        assert_eq!(
            error_of(Some(&[])),
            "the target has no service \"shop.Orders\"; it offers none"
        );
        assert_eq!(
            error_of(Some(&["a.B", "c.D"])),
            "the target has no service \"shop.Orders\"; it offers a.B, c.D"
        );
        let alike = "the target has no service \"shop.Orders\"; did you mean shop.v1.Orders? It offers a.B, shop.v1.Orders";
        assert_eq!(error_of(Some(&["a.B", "shop.v1.Orders"])), alike);
        assert!(error_of(Some(&["shop.Orders"])).contains("give its .proto file in spec.protos"));
    }

    #[test]
    fn the_kind_of_a_call_is_in_the_descriptor() {
        let kinds = ["Get", "Watch", "Put", "Talk"].map(|method| {
            rpc(&shop(), &format!("shop.v1.Orders/{method}"))
                .unwrap()
                .kind
        });
        assert_eq!(
            kinds,
            [
                CallKind::Unary,
                CallKind::ServerStreaming,
                CallKind::ClientStreaming,
                CallKind::Bidirectional
            ]
        );
        assert_eq!(
            rpc(&shop(), "shop.v1.Orders/Get")
                .unwrap()
                .output
                .full_name(),
            "shop.Order"
        );
    }

    #[test]
    fn the_health_service_is_always_known() {
        assert_eq!(
            rpc(&shop(), "grpc.health.v1.Health/Check").unwrap().kind,
            CallKind::Unary
        );
        assert_eq!(
            rpc(&Descriptors::default(), "grpc.health.v1.Health/Watch")
                .unwrap()
                .kind,
            CallKind::ServerStreaming
        );
    }

    #[test]
    fn texts_sets_and_reflection_give_the_same() {
        let files: Vec<FileDescriptorProto> =
            shop().pool.file_descriptor_protos().cloned().collect();
        let reflected =
            Descriptors::of_reflection(files.iter().rev().map(Message::encode_to_vec), None)
                .unwrap();
        let set = FileDescriptorSet { file: files }.encode_to_vec();
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&set).unwrap();
        let packed = packed.finish().unwrap();
        for bytes in [set, packed] {
            let descriptors = Descriptors::compile(
                &[],
                &[Source {
                    bytes,
                    ..source("set", "")
                }],
                &[],
            )
            .unwrap();
            assert_eq!(descriptors.hash(), shop().hash());
        }
        assert_eq!(reflected.hash(), shop().hash());
        assert_ne!(Descriptors::of_health().hash(), shop().hash());
    }

    #[test]
    fn a_set_without_its_imports_needs_only_those_that_are_not_well_known() {
        let files: Vec<FileDescriptorProto> =
            shop().pool.file_descriptor_protos().cloned().collect();
        let only = |keep: &[&str]| {
            let file = files
                .iter()
                .filter(|file| keep.contains(&file.name()))
                .cloned()
                .collect();
            let set = Source {
                bytes: FileDescriptorSet { file }.encode_to_vec(),
                ..source("set", "")
            };
            Descriptors::compile(&[], &[set], &[])
        };
        assert!(only(&["shop/api.proto", "shop/types.proto"]).is_ok());
        let problems = only(&["shop/api.proto"]).unwrap_err();
        assert!(
            problems[0]
                .message
                .contains("import 'shop/types.proto' not found"),
            "{problems:?}"
        );
    }

    #[test]
    fn of_a_folder_only_what_is_wanted_is_compiled() {
        let texts = [
            source("shop/api.proto", API),
            source("shop/types.proto", TYPES),
            source("old.proto", "what is this"),
        ];
        assert!(Descriptors::compile(&texts, &[], &[]).is_err());
        let descriptors = Descriptors::compile(&texts, &[], &["shop/api.proto".into()]).unwrap();
        assert_eq!(
            descriptors.services().collect::<Vec<_>>(),
            ["shop.v1.Orders"]
        );
    }
}
