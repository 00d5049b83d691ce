//! Finds the paths in a source file, in its `use` declarations and in its code.

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};

/// A path as the file has it, except that `self` and `super` are replaced by `crate` and the modules below it.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// Number of the line, counted from 1.
    pub line: usize,
    /// Words of the path. The last one is `*` if a `use` declaration imports everything.
    pub words: Vec<String>,
    /// Name that a `use` declaration gives to the item in this file; `None` for a path in code.
    pub alias: Option<String>,
    /// Whether the item is re-exported (`pub use`).
    pub reexported: bool,
}

/// Lists the paths in the text of a source that is this module. A module `tests` in it is left out, because no build of
/// the program needs it.
pub fn of(module: &[String], text: &str) -> Result<Vec<Named>> {
    let tokens: TokenStream = text.parse().ok().context("it is not Rust source")?;
    let mut scan = Scan { module: module.to_vec(), named: Vec::new(), public: false };
    scan.code(tokens);
    Ok(scan.named)
}

struct Scan {
    module: Vec<String>,
    named: Vec<Named>,
    /// Whether the `use` declaration that is being read begins with `pub`.
    public: bool,
}

impl Scan {
    fn code(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at = match (token, tokens.get(at + 1)) {
                (TokenTree::Ident(word), Some(_)) if word == "use" => {
                    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
                    self.public = matches!(before, Some(TokenTree::Ident(word)) if word == "pub");
                    self.import(&tokens, at + 1, &[])
                }
                (TokenTree::Ident(word), Some(TokenTree::Ident(name))) if word == "mod" => {
                    if let Some(TokenTree::Group(body)) = tokens.get(at + 2)
                        && name != "tests"
                    {
                        self.module.push(name.to_string());
                        self.code(body.stream());
                        self.module.pop();
                    }
                    at + 3
                }
                (TokenTree::Ident(_), _) => self.path(&tokens, at),
                (TokenTree::Group(group), _) => {
                    self.code(group.stream());
                    at + 1
                }
                _ => at + 1,
            };
        }
    }

    /// Reads a path from its first word, and returns the position of its end. A single word is left out, because it may
    /// be anything.
    fn path(&mut self, tokens: &[TokenTree], start: usize) -> usize {
        let mut words = Vec::new();
        let mut at = start;
        while let Some(TokenTree::Ident(word)) = tokens.get(at) {
            words.push(word.to_string());
            at += 1;
            if !(is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1))) {
                break;
            }
            at += 2;
        }
        if words.len() > 1 {
            self.record(tokens.get(start), words, None);
        }
        at
    }

    /// Reads a path or group in a `use` declaration, and returns the position after the declaration or after the next
    /// comma.
    fn import(&mut self, tokens: &[TokenTree], start: usize, prefix: &[String]) -> usize {
        let mut words = prefix.to_vec();
        let mut alias = None;
        let mut at = start;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Ident(word) if word == "as" => {
                    alias = tokens.get(at + 1).map(ToString::to_string);
                    at += 1;
                }
                TokenTree::Ident(word) => words.push(word.to_string()),
                TokenTree::Group(group) => {
                    let group: Vec<TokenTree> = group.stream().into_iter().collect();
                    let mut part = 0;
                    while part < group.len() {
                        part = self.import(&group, part, &words);
                    }
                    return at + 2;
                }
                TokenTree::Punct(end) if [';', ','].contains(&end.as_char()) => break,
                TokenTree::Punct(all) if all.as_char() == '*' => words.push("*".to_owned()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            at += 1;
        }
        if words.len() > 1 && words.last().is_some_and(|last| last == "self") {
            words.pop();
        }
        let alias = alias.or_else(|| words.last().cloned());
        self.record(tokens.get(start), words, alias);
        at + 1
    }

    fn record(&mut self, first: Option<&TokenTree>, words: Vec<String>, alias: Option<String>) {
        let Some(first) = first else { return };
        let supers = words.iter().take_while(|word| *word == "super").count();
        let is_relative = words.first().is_some_and(|word| word == "self" || word == "super");
        let mut absolute = Vec::new();
        if is_relative {
            absolute.push("crate".to_owned());
            absolute.extend(self.module.iter().take(self.module.len().saturating_sub(supers)).cloned());
        }
        absolute.extend(words.into_iter().skip_while(|word| word == "self" || word == "super"));
        self.named.push(Named {
            line: first.span().start().line,
            words: absolute,
            reexported: self.public && alias.is_some(),
            alias,
        });
    }
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(module: &str, source: &str) -> Vec<String> {
        let module: Vec<String> = module.split_terminator("::").map(str::to_owned).collect();
        let named = of(&module, source).expect("the snippet is Rust");
        let shown = |Named { words, alias, reexported, .. }: Named| match alias {
            Some(alias) if reexported => format!("pub {} as {alias}", words.join("::")),
            Some(alias) => format!("{} as {alias}", words.join("::")),
            None => words.join("::"),
        };
        named.into_iter().map(shown).collect()
    }

    #[test]
    fn groups_in_use_declarations_are_expanded() {
        let source = "use crate::{net, dataplane::{self, Map as M}, vrrp::*}; use aya;";
        let spelled = ["crate::net as net", "crate::dataplane as dataplane", "crate::dataplane::Map as M"];
        assert_eq!(paths("x", source)[..3], spelled);
        assert_eq!(paths("x", source)[3..], ["crate::vrrp::* as *", "aya as aya"]);
    }

    #[test]
    fn relative_paths_are_resolved() {
        let source = "use super::status; mod inner { use super::super::net; fn f() { self::g() } }";
        assert_eq!(
            paths("vrrp::router", source),
            ["crate::vrrp::status as status", "crate::vrrp::net as net", "crate::vrrp::router::inner::g"]
        );
        assert_eq!(paths("vrrp", "pub use super::net; use x;"), ["pub crate::net as net", "x as x"]);
    }

    #[test]
    fn paths_in_code_macros_and_attributes_are_found_with_their_lines() {
        let source = "#[tokio::main]\nfn f() {\n  vec![std::time::Instant::now()];\n}";
        let found = of(&[], source).expect("the snippet is Rust");
        let found: Vec<_> = found.iter().map(|named| (named.line, named.words.join("::"))).collect();
        assert_eq!(found, [(1, "tokio::main".to_owned()), (3, "std::time::Instant::now".to_owned())]);
    }

    #[test]
    fn words_fields_strings_comments_and_tests_are_left_out() {
        let source = "// aya::Ebpf\nlet aya = tokio.data; f(\"aya::x\"); mod tests { use aya::y; }";
        assert_eq!(paths("x", source), Vec::<String>::new());
    }
}
