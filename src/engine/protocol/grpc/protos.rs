//! Descriptors from the `.proto` files of a test.

use std::fs;
use std::io;
use std::path::Path;

use crate::engine::inputs::{folder, permitted, read_file, unreadable};
use crate::plan::feeder::Data;
use crate::plan::grpc::{Descriptors, ProtoFile, ProtoRoot, Protos, Source};
use crate::plan::{Inputs, Plan, Problem};

/// Most levels of folders that are read.
const MAX_DEPTH: usize = 16;

/// Largest file in bytes.
const MAX_FILE: usize = 16 << 20;

/// Compiles the plan's files, or returns all problems with them. Reads files, so it may block.
pub fn load(plan: &Plan, inputs: &Inputs) -> Result<Descriptors, Vec<Problem>> {
    let Some(Protos { files, sets, root }) = &plan.protos else {
        return Ok(Descriptors::default());
    };
    let mut problems = Vec::new();
    let (mut texts, mut packed) = (Vec::new(), Vec::new());
    for ProtoFile { path, source } in files {
        let bytes = inputs.get(source).unwrap_or_default().to_vec();
        texts.push(Source {
            path: path.clone(),
            field: source.field.clone(),
            bytes,
        });
    }
    for set in sets {
        let bytes = match &set.data {
            Data::Reference(reference) => Ok(inputs.get(reference).unwrap_or_default().to_vec()),
            Data::File(path) => folder(inputs)
                .and_then(|base| read(inputs, &base.join(path)).map_err(|e| unreadable(path, &e))),
        };
        match bytes {
            Ok(bytes) => packed.push(Source {
                path: String::new(),
                field: set.field.clone(),
                bytes,
            }),
            Err(why) => problems.push(Problem::new(set.field.clone(), why)),
        }
    }
    let mut wanted = Vec::new();
    if let Some(ProtoRoot {
        folder: below,
        files: of_root,
    }) = root
    {
        let found = folder(inputs).and_then(|base| {
            read_folder(inputs, &base.join(below)).map_err(|e| unreadable(below, &e))
        });
        match found {
            Ok(found) => texts.extend(found),
            Err(why) => problems.push(Problem::new("spec.protos.root", why)),
        }
        if !of_root.is_empty() {
            wanted = files
                .iter()
                .map(|file| file.path.clone())
                .chain(of_root.iter().cloned())
                .collect();
        }
    }
    if problems.is_empty() {
        Descriptors::compile(&texts, &packed, &wanted)
    } else {
        Err(problems)
    }
}

fn read(inputs: &Inputs, path: &Path) -> io::Result<Vec<u8>> {
    read_file(inputs, path, MAX_FILE)?
        .map_err(|_| io::Error::other(format!("it is larger than {} MiB", MAX_FILE >> 20)))
}

/// Reads every `.proto` file below `folder`, ordered by relative path.
fn read_folder(inputs: &Inputs, folder: &Path) -> io::Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        for entry in fs::read_dir(permitted(inputs, &folder)?)? {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            // such names are those of the volumes' own workings
            if name.starts_with('.') {
                continue;
            }
            let path = folder.join(&name);
            // a link to a file is a file
            if fs::metadata(&path)?.is_dir() {
                if depth < MAX_DEPTH {
                    folders.push((path, format!("{prefix}{name}/"), depth + 1));
                }
            } else if name.ends_with(".proto") {
                found.push(Source {
                    path: format!("{prefix}{name}"),
                    field: "spec.protos.root".to_owned(),
                    bytes: read(inputs, &path)?,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}
