//! What a source file mentions: the paths, macros, methods and attributes in its code, each with its line.

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

#[derive(Debug, PartialEq, Eq)]
pub struct Mention {
    pub line: usize,
    /// `std::time::Instant`, `println!`, `.data_end()` or `#[ignore]`; what `use` groups is spelled out, and
    /// `crate`, `self` and `super` are resolved to `crate::...`.
    pub name: String,
}

/// Of the file at `path` in the workspace, whose text is `source`.
pub fn of(path: &str, source: &str) -> Result<Vec<Mention>> {
    let tokens: TokenStream = source.parse().ok().with_context(|| format!("{path} is no Rust source"))?;
    let mut scan = Scan { module: module_of(path), mentions: Vec::new() };
    scan.code(tokens);
    Ok(scan.mentions)
}

/// `agent/src/vrrp/router.rs` is `crate::vrrp::router`.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.split_once("src/").map_or(path, |(_, inside)| inside);
    let mut module = vec!["crate".to_owned()];
    module.extend(inside.trim_end_matches(".rs").split('/').map(str::to_owned));
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

struct Scan {
    module: Vec<String>,
    mentions: Vec<Mention>,
}

impl Scan {
    fn code(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = match (&tokens[at], tokens.get(at + 1)) {
                (TokenTree::Ident(word), Some(_)) if word == "use" => self.import(&tokens, at + 1, &[]),
                (TokenTree::Ident(word), Some(TokenTree::Ident(name))) if word == "mod" => {
                    self.module.push(name.to_string());
                    if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
                        self.code(body.stream());
                    }
                    self.module.pop();
                    at + 3
                }
                (TokenTree::Ident(_), _) => self.path(&tokens, at),
                (TokenTree::Punct(dot), Some(TokenTree::Ident(method))) if dot.as_char() == '.' => {
                    if is_group(tokens.get(at + 2), Delimiter::Parenthesis) {
                        self.mention(method.span().start().line, format!(".{method}()"));
                    }
                    at + 2
                }
                (TokenTree::Punct(hash), Some(TokenTree::Group(attribute))) if hash.as_char() == '#' => {
                    self.attribute(attribute.stream());
                    at + 2
                }
                (TokenTree::Group(group), _) => {
                    self.code(group.stream());
                    at + 1
                }
                _ => at + 1,
            };
        }
    }

    /// An attribute may be hidden in another one, as in `#[cfg_attr(test, ignore)]`.
    fn attribute(&mut self, tokens: TokenStream) {
        for token in tokens.clone() {
            match token {
                TokenTree::Ident(word) if word == "ignore" => {
                    self.mention(word.span().start().line, format!("#[{word}]"));
                }
                TokenTree::Group(group) => self.attribute(group.stream()),
                _ => {}
            }
        }
        self.code(tokens);
    }

    /// From a path's first word; returns where it ends. A single word may be anything, unless it calls a macro.
    fn path(&mut self, tokens: &[TokenTree], start: usize) -> usize {
        let line = tokens[start].span().start().line;
        let mut path = vec![tokens[start].to_string()];
        let mut at = start + 1;
        while is_separator(tokens, at) {
            let Some(TokenTree::Ident(word)) = tokens.get(at + 2) else {
                break;
            };
            path.push(word.to_string());
            at += 3;
        }
        let calls_macro = is_punct(tokens.get(at), '!') && matches!(tokens.get(at + 1), Some(TokenTree::Group(_)));
        if calls_macro {
            let name = path.last_mut().expect("a path has a first word");
            name.push('!');
        }
        if calls_macro || path.len() > 1 {
            self.resolved(line, &path);
        }
        at
    }

    /// From a word or group in a `use`; returns where the item, or the part before a comma, ends.
    fn import(&mut self, tokens: &[TokenTree], start: usize, prefix: &[String]) -> usize {
        let mut path = prefix.to_vec();
        let mut at = start;
        while let Some(token) = tokens.get(at) {
            match token {
                // What it is called here does not matter.
                TokenTree::Ident(word) if word == "as" => at += 1,
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Group(group) => {
                    let group: Vec<TokenTree> = group.stream().into_iter().collect();
                    let mut part = 0;
                    while part < group.len() {
                        part = self.import(&group, part, &path);
                    }
                    return at + 2;
                }
                TokenTree::Punct(end) if [';', ','].contains(&end.as_char()) => break,
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            at += 1;
        }
        if let Some(token) = tokens.get(start) {
            self.resolved(token.span().start().line, &path);
        }
        at + 1
    }

    fn resolved(&mut self, line: usize, path: &[String]) {
        let supers = path.iter().take_while(|word| *word == "super").count();
        let relative = supers > 0 || path.first().is_some_and(|word| word == "self");
        let mut words: Vec<&str> = Vec::new();
        if relative {
            let depth = self.module.len().saturating_sub(supers).max(1);
            words.extend(self.module[..depth].iter().map(String::as_str));
        }
        let is_keyword = |word: &&String| *word == "super" || *word == "self";
        words.extend(path.iter().skip_while(is_keyword).map(String::as_str));
        let name = words.join("::");
        self.mention(line, name);
    }

    fn mention(&mut self, line: usize, name: String) {
        self.mentions.push(Mention { line, name });
    }
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

fn is_group(token: Option<&TokenTree>, delimiter: Delimiter) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == delimiter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, source: &str) -> Vec<String> {
        let mentions = of(path, source).expect("the snippet is Rust");
        mentions.into_iter().map(|mention| mention.name).collect()
    }

    #[test]
    fn groups_in_use_are_spelled_out() {
        let source = "use crate::{net, dataplane::{self, Map as M}, vrrp::*}; use aya;";
        assert_eq!(
            names("agent/src/x.rs", source),
            ["crate::net", "crate::dataplane::self", "crate::dataplane::Map", "crate::vrrp", "aya"]
        );
    }

    #[test]
    fn relative_paths_are_resolved() {
        let source = "use super::status; mod tests { use super::super::net; fn f() { self::g() } }";
        assert_eq!(
            names("agent/src/vrrp/router.rs", source),
            ["crate::vrrp::status", "crate::vrrp::net", "crate::vrrp::router::tests::g"]
        );
        assert_eq!(names("agent/src/vrrp/mod.rs", "use super::net;"), ["crate::net"]);
    }

    #[test]
    fn paths_in_code_macros_and_attributes_are_found_with_their_lines() {
        let source =
            "#[tokio::main]\nfn f() {\n  vec![std::time::Instant::now()];\n  println!(\"{}\", x.data_end());\n}";
        let found = of("agent/src/x.rs", source).expect("the snippet is Rust");
        let found: Vec<_> = found.iter().map(|mention| (mention.line, mention.name.as_str())).collect();
        assert_eq!(
            found,
            [(1, "tokio::main"), (3, "vec!"), (3, "std::time::Instant::now"), (4, "println!"), (4, ".data_end()")]
        );
    }

    #[test]
    fn words_fields_strings_and_comments_are_nothing() {
        assert_eq!(names("agent/src/x.rs", "// aya::Ebpf\nlet aya = tokio.data; f(\"aya::x\");"), Vec::<String>::new());
    }

    #[test]
    fn an_ignored_test_is_found_however_it_is_ignored() {
        for attribute in ["#[ignore]", "#[ignore = \"slow\"]", "#[cfg_attr(not(root), ignore)]"] {
            assert_eq!(names("tests/tests/x.rs", attribute), ["#[ignore]"], "{attribute}");
        }
    }
}
