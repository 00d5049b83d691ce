//! Finds the imports between the files of a crate.
//!
//! A file imports from the one that defines a name, not from one that hands it on (`pub use`). Between crates there is
//! nothing to look for: cargo refuses crates that depend on each other. What a file takes from a module that contains
//! it counts as well, except from the modules in [`CONTAINERS`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};

use super::paths::{self, Named};

/// The names that one file imports from another.
#[derive(Debug, PartialEq, Eq)]
pub struct ImportedNames {
    /// Number of the line of the first use, counted from 1.
    pub line: usize,
    pub names: BTreeSet<String>,
}

/// Imports by the importing file, then by the file that they come from. Both are paths in the workspace.
pub type Imports = BTreeMap<String, BTreeMap<String, ImportedNames>>;

/// Position of a module: the directory of its crate's root, and the words of its path below `crate`.
type Module = (String, Vec<String>);

/// Modules whose own files may import from them, and why.
const CONTAINERS: &[(&str, &str)] =
    &[("tests/", "nothing is built on the tests, and what a folder shares stands best where its parts are listed")];

struct Source<'a> {
    path: &'a str,
    module: Module,
    named: Vec<Named>,
}

/// Reads the imports of sources, given as (path in the workspace, text).
pub fn of(sources: &[(String, String)]) -> Result<Imports> {
    let roots: BTreeSet<&str> = sources.iter().filter_map(|(path, _)| root_of(path)).collect();
    let mut files = Vec::new();
    for (path, text) in sources {
        let Some(module) = module_of(path, &roots) else { continue };
        let named = paths::of(&module.1, text).with_context(|| format!("{path} cannot be read"))?;
        files.push(Source { path, module, named });
    }
    // If a library and a program have the same root directory, the modules are those of the library, which comes first.
    let mut modules = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        modules.entry(&file.module).or_insert(index);
    }
    let resolver = Resolver { files: &files, modules };
    let mut imports = Imports::new();
    for (index, file) in files.iter().enumerate() {
        for named in file.named.iter().filter(|named| !named.reexported) {
            let Some((target, name)) = resolver.resolve(index, &named.words, MAX_STEPS) else { continue };
            let Some(target) = files.get(target).filter(|target| !file.belongs_to(target)) else { continue };
            let from = imports.entry(file.path.to_owned()).or_default();
            let new = || ImportedNames { line: named.line, names: BTreeSet::new() };
            from.entry(target.path.to_owned()).or_insert_with(new).names.insert(name);
        }
    }
    Ok(imports)
}

/// Returns the directory of a file that is the root of a crate.
fn root_of(path: &str) -> Option<&str> {
    path.strip_suffix("/lib.rs").or_else(|| path.strip_suffix("/main.rs"))
}

/// Returns the position of a file's module: `status::http` below `agent/src` for `agent/src/status/http.rs`. Returns
/// `None` for a file that is not below the root of a crate.
fn module_of(path: &str, roots: &BTreeSet<&str>) -> Option<Module> {
    let above = path.match_indices('/').rev().map(|(at, _)| path.split_at(at).0);
    let root = above.into_iter().find(|directory| roots.contains(directory))?;
    let inside = path.strip_prefix(root)?.trim_start_matches('/').trim_end_matches(".rs");
    let mut words: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if words.last().is_some_and(|last| last == "mod") || ["lib", "main"].contains(&inside) {
        words.pop();
    }
    Some((root.to_owned(), words))
}

/// Largest number of re-exports that are followed. Names with more of them are re-exported in a circle.
const MAX_STEPS: usize = 16;

struct Resolver<'a> {
    files: &'a [Source<'a>],
    modules: HashMap<&'a Module, usize>,
}

impl Resolver<'_> {
    /// Returns the file that defines the item to which a path in another file leads, and the item's name there. Returns
    /// `None` for a module, and for items outside the crate.
    fn resolve(&self, from: usize, words: &[String], steps: usize) -> Option<(usize, String)> {
        let steps = steps.checked_sub(1)?;
        let source = self.files.get(from)?;
        let (first, behind) = words.split_first()?;
        let (root, own) = &source.module;
        let below = |words: &[String], word: &String| (root.clone(), [words, std::slice::from_ref(word)].concat());
        let (mut module, mut rest) = if first == "crate" {
            (Vec::new(), behind)
        } else if let Some(alias) = source.alias(first).filter(|alias| alias.words.first() != Some(first)) {
            return self.resolve(from, &[&alias.words, behind].concat(), steps);
        } else if self.modules.contains_key(&below(own, first)) {
            (own.clone(), words)
        } else {
            return None;
        };
        while let Some((word, behind)) = rest.split_first() {
            let inner = below(&module, word);
            if !self.modules.contains_key(&inner) {
                break;
            }
            (module, rest) = (inner.1, behind);
        }
        let (name, behind) = rest.split_first()?;
        let target = *self.modules.get(&(root.clone(), module))?;
        match self.files.get(target)?.alias(name) {
            Some(reexported) if target != from => self.resolve(target, &[&reexported.words, behind].concat(), steps),
            _ => Some((target, name.clone())),
        }
    }
}

impl Source<'_> {
    /// Returns whether the module is this file, or one of [`CONTAINERS`] that contains it.
    fn belongs_to(&self, module: &Source<'_>) -> bool {
        let is_container = CONTAINERS.iter().any(|(path, _)| module.path.starts_with(path));
        self.path == module.path || is_container && self.module.1.starts_with(&module.module.1)
    }

    fn alias(&self, name: &str) -> Option<&Named> {
        self.named.iter().find(|named| named.alias.as_deref() == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a line `FILE -> FILE: NAMES` for each import.
    fn shown(sources: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = sources.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let imports = of(&sources).expect("the snippets are Rust");
        let shown = |(from, of): (&String, &BTreeMap<String, ImportedNames>)| {
            let one = |(to, import): (&String, &ImportedNames)| {
                format!("{from} -> {to}: {}", import.names.iter().cloned().collect::<Vec<_>>().join(", "))
            };
            of.iter().map(one).collect::<Vec<_>>()
        };
        imports.iter().flat_map(shown).collect()
    }

    #[test]
    fn a_name_is_imported_from_the_file_that_defines_it() {
        let lib = ("a/src/lib.rs", "mod x; mod y; pub use x::X; use y::z::Z as W; fn h() { x::i() }");
        let user = ("a/src/x.rs", "use super::W; use crate::X; use std::fmt;");
        let deep = ("a/src/y/z.rs", "pub struct Z;");
        assert_eq!(
            shown(&[lib, user, ("a/src/y/mod.rs", "pub mod z;"), deep]),
            ["a/src/lib.rs -> a/src/x.rs: i", "a/src/lib.rs -> a/src/y/z.rs: Z", "a/src/x.rs -> a/src/y/z.rs: Z"]
        );
    }

    #[test]
    fn names_that_are_used_through_an_imported_module_are_imports_from_its_file() {
        let user = ("a/src/x.rs", "use crate::y::{self, B}; fn f() { y::g(B::new()) }");
        assert_eq!(
            shown(&[("a/src/main.rs", "mod x; mod y;"), user, ("a/src/y.rs", "")]),
            ["a/src/x.rs -> a/src/y.rs: B, g"]
        );
    }

    #[test]
    fn names_from_an_enclosing_module_are_imports_unless_the_module_is_excepted() {
        let below = |directory: &str| {
            let file = |path: &str| format!("{directory}/{path}");
            let texts = ["mod x;", "pub mod y; mod z;", "use crate::A; use super::B; use super::z::C;", ""];
            let files = ["src/lib.rs", "src/x/mod.rs", "src/x/y.rs", "src/x/z.rs"].map(file);
            let sources: Vec<_> = files.iter().map(String::as_str).zip(texts).collect();
            shown(&sources)
        };
        let sibling = "tests/a/src/x/y.rs -> tests/a/src/x/z.rs: C";
        assert_eq!(below("tests/a"), [sibling]);
        assert_eq!(
            below("a"),
            ["a/src/x/y.rs -> a/src/lib.rs: A", "a/src/x/y.rs -> a/src/x/mod.rs: B", &sibling.replace("tests/", "")]
        );
    }

    #[test]
    fn imports_between_crates_are_left_out() {
        let sources = [("a/src/lib.rs", "use b::X;"), ("b/src/lib.rs", "mod x;"), ("b/src/x.rs", "use a::Y;")];
        assert_eq!(shown(&sources), Vec::<String>::new());
    }
}
