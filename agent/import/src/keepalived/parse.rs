//! Reads lines into statements and blocks as keepalived does (`process_stream` and `alloc_value_block` in its
//! lib/parser.c): which lines belong to a block depends on the words that keepalived knows there, and a brace too many
//! or too few does not end the reading.

use std::collections::HashMap;
use std::iter::Peekable;
use std::net::IpAddr;
use std::vec;

use super::super::location::Location;
use super::super::report::ImportReport;
use super::grammar::{self, Level, Syntax};
use super::lines::Line;
use super::tree::{Statement, words};

/// Blocks that keepalived takes only with one name, which no other block of the kind has.
const NAMED: &[&str] = &["vrrp_instance", "vrrp_sync_group", "track_group"];
/// Directives whose line keepalived splits by itself, and whose quotes are checked there.
const COMMANDS: &[&str] = &["script", "notify", "startup_script", "shutdown_script"];

/// Reads the lines of a configuration. Reports what keepalived ignores.
pub(super) fn parse(lines: Vec<Line>, report: &mut ImportReport) -> Vec<Statement> {
    let mut parser = Parser { lines: lines.into_iter().peekable(), names: HashMap::new(), explained: false, report };
    parser.top_level()
}

struct Parser<'a> {
    lines: Peekable<vec::IntoIter<Line>>,
    /// Line of each block in [`NAMED`], by its keyword and name.
    names: HashMap<(String, String), Location>,
    /// Whether braces that do not fit have been reported: lines that keepalived ignores afterwards are a consequence.
    explained: bool,
    report: &'a mut ImportReport,
}

/// Lines outside any block that keepalived ignores, up to the next one that it knows.
struct Ignored {
    first: Statement,
    last: Location,
    /// Whether there is a brace among them.
    braces: bool,
}

impl Parser<'_> {
    fn top_level(&mut self) -> Vec<Statement> {
        let mut statements = Vec::new();
        let mut ignored: Option<Ignored> = None;
        while let Some(statement) = self.statement() {
            let Some(syntax) = grammar::top_level(&statement.keyword) else {
                let brace = matches!(statement.keyword.as_str(), "{" | "}");
                match &mut ignored {
                    Some(ignored) => {
                        ignored.last = statement.location;
                        ignored.braces |= brace;
                    }
                    None => {
                        let last = statement.location.clone();
                        ignored = Some(Ignored { first: statement, last, braces: brace });
                    }
                }
                continue;
            };
            self.report_ignored(ignored.take());
            self.explained = false;
            if let Some(statement) = self.complete(statement, syntax) {
                statements.push(statement);
            }
        }
        self.report_ignored(ignored);
        statements
    }

    /// Reports lines outside any block that keepalived ignores, unless they are a consequence of something reported.
    fn report_ignored(&mut self, ignored: Option<Ignored>) {
        let Some(Ignored { first, last, braces }) = ignored else { return };
        if self.explained {
            return;
        }
        let Statement { keyword, location, .. } = &first;
        let rest = if *location == last { String::new() } else { format!(", and what follows, up to {last}") };
        let (what, remedy) = match keyword.as_str() {
            "}" => ("this brace closes nothing", "remove it, or add the { that is missing"),
            "{" => ("this brace opens nothing", "remove it, or put the keyword of a block before it"),
            _ if braces => ("keepalived has no such block", "correct the keyword, or remove the block"),
            _ => ("keepalived has no such directive outside a block", "correct the keyword, or remove it"),
        };
        let advice = format!("{what}, so that keepalived ignores it{rest}; {remedy}");
        if braces {
            self.report.changed(location, keyword, advice);
        } else {
            self.report.note(location, keyword, advice);
        }
    }

    /// Reads the block of a statement, if it has one. Returns `None` if keepalived ignores the statement.
    fn complete(&mut self, mut statement: Statement, syntax: Syntax) -> Option<Statement> {
        match syntax {
            Syntax::Line => {}
            Syntax::Values => statement.block = Some(self.values(&statement)),
            Syntax::Block(level) => {
                if NAMED.contains(&statement.keyword.as_str()) && !self.claim_name(&statement) {
                    self.skip();
                    return None;
                }
                statement.block = Some(self.block(&statement, level));
                if let Some(name) = statement.word(0) {
                    statement.location = statement.location.of(&format!("{} {name:?}", statement.keyword));
                }
            }
            Syntax::Global(level) => statement.block = Some(self.global(&statement, level)),
            Syntax::Skipped => statement.block = Some(self.skip()),
        }
        Some(statement)
    }

    /// Takes the name of a block. Returns whether keepalived takes the block too.
    fn claim_name(&mut self, statement: &Statement) -> bool {
        let Statement { keyword, words, location, .. } = statement;
        let [name] = words.as_slice() else {
            let wrong = if words.is_empty() { "has no name" } else { "has more than one word as its name" };
            let advice = format!("{wrong}, so keepalived ignores the block; give it one name, or remove it");
            self.report.changed(location, keyword, advice);
            return false;
        };
        match self.names.get(&(keyword.clone(), name.clone())) {
            Some(first) => {
                let advice = format!(
                    "{name:?} is already defined at {first}, so keepalived ignores this block; give it another name, or \
                     remove it"
                );
                self.report.changed(location, keyword, advice);
                false
            }
            None => {
                self.names.insert((keyword.clone(), name.clone()), location.clone());
                true
            }
        }
    }

    /// Reads a block of directives that another process of keepalived reads: the VRRP process only counts its braces.
    fn global(&mut self, block: &Statement, level: Level) -> Vec<Statement> {
        let mut lines = Vec::new();
        let mut depth = 0;
        while depth > 0 || self.lines.peek().is_some_and(|line| line.text == "{" && lines.is_empty()) {
            let Some(line) = self.lines.next() else { break };
            match line.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            lines.push(line);
        }
        if lines.is_empty() {
            return self.block(block, level);
        }
        let lines = lines.into_iter().peekable();
        Parser { lines, names: HashMap::new(), explained: false, report: self.report }.block(block, level)
    }

    /// Reads a block of directives.
    fn block(&mut self, block: &Statement, level: Level) -> Vec<Statement> {
        let mut statements: Vec<Statement> = Vec::new();
        self.expect_brace(block);
        // A word that keepalived does not know here. It is reported when it is clear whether a brace follows.
        let mut unknown: Option<Statement> = None;
        let mut broken = false;
        loop {
            let Some(statement) = self.statement() else {
                self.report_unknown(unknown, block, broken);
                self.report_unclosed(block);
                return statements;
            };
            match statement.keyword.as_str() {
                "{" => {
                    if !self.explained {
                        self.report_brace(unknown.take(), &statement, block);
                    }
                    broken = true;
                    unknown = None;
                    continue;
                }
                "}" => {
                    self.report_unknown(unknown, block, broken);
                    return statements;
                }
                _ => self.report_unknown(unknown.take(), block, broken),
            }
            let Some(syntax) = level(&statement.keyword) else {
                unknown = Some(statement);
                continue;
            };
            let keyword = &statement.keyword;
            let earlier = |other: &Statement| other.keyword == *keyword && !other.statements().is_empty();
            if keyword == "group" && statements.iter().any(earlier) {
                let advice = format!(
                    "keepalived reads only the first list, and takes the end of this one for the end of {}; put all \
                     members into one list",
                    block.title()
                );
                self.report.changed(&statement.location, keyword, advice);
                self.explained = true;
                self.skip();
                return statements;
            }
            statements.extend(self.complete(statement, syntax));
        }
    }

    /// Reports a word that keepalived does not know in this block, unless it is a consequence of something reported.
    fn report_unknown(&mut self, unknown: Option<Statement>, block: &Statement, broken: bool) {
        let Some(Statement { keyword, location, .. }) = unknown else { return };
        if !broken && !self.explained {
            let advice = format!(
                "keepalived has no such directive in {}, and ignores it; correct the keyword, or remove it",
                block.keyword
            );
            self.report.note(&location, &keyword, advice);
        }
    }

    /// Reports a brace that opens nothing in this block, after a word that keepalived does not know there or on its
    /// own.
    fn report_brace(&mut self, unknown: Option<Statement>, brace: &Statement, block: &Statement) {
        let title = block.title();
        let (location, keyword, advice) = match &unknown {
            Some(Statement { keyword, location, .. }) if grammar::top_level(keyword).is_some() => (
                location,
                keyword.as_str(),
                format!(
                    "the }} of {title} ({}) is missing before this line, so keepalived reads on in that block; add it",
                    block.location
                ),
            ),
            Some(Statement { keyword, location, .. }) => (
                location,
                keyword.as_str(),
                format!(
                    "keepalived has no such block in {}, and takes the end of this one for the end of {title} ({}); \
                     correct the keyword, or remove the block",
                    block.keyword, block.location
                ),
            ),
            None => (
                &brace.location,
                "{",
                format!(
                    "keepalived ignores this brace, and takes the next }} for the end of {title} ({}); remove both",
                    block.location
                ),
            ),
        };
        self.report.changed(location, keyword, advice);
        self.explained = true;
    }

    /// Reports a block that the end of the file ends.
    fn report_unclosed(&mut self, block: &Statement) {
        if !std::mem::replace(&mut self.explained, true) {
            let advice =
                "the block is never closed, so for keepalived it ends with the file; add the } that is missing";
            self.report.changed(&block.location, &block.keyword, advice);
        }
    }

    /// Takes the brace that begins a block. keepalived continues without it.
    fn expect_brace(&mut self, block: &Statement) {
        let brace = self.lines.next_if(|line| line.text == "{");
        if brace.is_none() && self.lines.peek().is_some() {
            let advice = "the { of the block is missing; keepalived continues without it; add it";
            self.report.changed(&block.location, &block.keyword, advice);
        }
    }

    /// Reads a block of lines that are not directives.
    fn values(&mut self, block: &Statement) -> Vec<Statement> {
        if let Some(word) = block.word(0) {
            let advice = format!("keepalived ignores {word:?}, which stands before the block; move it into the block");
            self.report.changed(&block.location, &block.keyword, advice);
        }
        self.expect_brace(block);
        let mut statements: Vec<Statement> = Vec::new();
        let mut stray = None;
        loop {
            let Some(mut statement) = self.statement() else {
                self.report_unclosed(block);
                break;
            };
            statement.location = statement.location.of(&block.keyword);
            match statement.keyword.as_str() {
                "}" => break,
                // The line before the brace begins a block that does not belong here.
                "{" => {
                    stray.get_or_insert(statements.len().saturating_sub(1));
                }
                _ => statements.push(statement),
            }
        }
        if let Some(stray) = stray {
            if !std::mem::replace(&mut self.explained, true) {
                let advice = format!(
                    "the }} of this block is missing, so keepalived reads up to the next one{}, and ignores whatever is \
                     not an address; add it",
                    statements.get(stray).map_or_else(String::new, |first| format!(" after {}", first.location))
                );
                self.report.changed(&block.location, &block.keyword, advice);
            }
            let is_address = |statement: &Statement| {
                statement.keyword.split('/').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
            };
            let mut index = 0;
            statements.retain(|statement| {
                index += 1;
                index <= stray || is_address(statement)
            });
        }
        statements
    }

    /// Passes over a block whose words do not matter. Returns its statements, without blocks inside it.
    fn skip(&mut self) -> Vec<Statement> {
        let mut statements: Vec<Statement> = Vec::new();
        let mut depth = usize::from(self.lines.next_if(|line| line.text == "{").is_some());
        while depth > 0 {
            let Some(statement) = self.statement() else { break };
            match statement.keyword.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ if depth == 1 => statements.push(statement),
                _ => {}
            }
        }
        statements
    }

    /// Returns the next line that has a word.
    fn statement(&mut self) -> Option<Statement> {
        loop {
            let Line { text, location } = self.lines.next()?;
            let (words, complete) = words(&text);
            let mut words = words.into_iter();
            let Some(keyword) = words.next() else { continue };
            let command = COMMANDS.contains(&keyword.as_str()) || keyword.starts_with("notify_");
            if !complete && !command {
                let advice = "the second \" of a quoted string is missing, so keepalived ignores it and what follows; \
                              add it";
                self.report.changed(&location, &keyword, advice);
            }
            let location = location.of(&keyword);
            return Some(Statement { keyword, words: words.collect(), text, location, block: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Returns the statements, with their blocks in braces, and the reports as `LINE: KIND: DIRECTIVE`.
    fn parsed(text: &str) -> (String, String) {
        let first = Location::new(Path::new("k"), 0);
        let line = |(index, text): (usize, &str)| Line { text: text.trim().to_owned(), location: first.at(index + 1) };
        let lines = text.lines().enumerate().map(line).collect();
        let mut report = ImportReport::default();
        let statements = parse(lines, &mut report);
        let notice = |notice: super::super::super::report::Notice| {
            format!("{}: {}: {}", notice.location.line(), notice.kind, notice.directive)
        };
        (shown(&statements), report.into_sorted().into_iter().map(notice).collect::<Vec<_>>().join(", "))
    }

    fn shown(statements: &[Statement]) -> String {
        let one = |statement: &Statement| {
            let words = [std::slice::from_ref(&statement.keyword), &statement.words].concat().join(" ");
            let block = statement.block.as_ref().map(|block| format!(" {{{}}}", shown(block)));
            words + &block.unwrap_or_default()
        };
        statements.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    fn assert_parsed(text: &str, statements: &str, notices: &str) {
        assert_eq!(parsed(text), (statements.to_owned(), notices.to_owned()), "{text}");
    }

    #[test]
    fn a_brace_too_many_is_ignored() {
        assert_parsed(
            "vrrp_instance A\n{\npriority 1\n}\n}\nvrrp_script s\n{\n}",
            "vrrp_instance A {priority 1}; vrrp_script s {}",
            "5: changed: }",
        );
    }

    #[test]
    fn an_unknown_block_ends_the_block_around_it() {
        assert_parsed(
            "vrrp_instance A\n{\npriority 1\nfoo\n{\nbar\n}\nversion 3\n}\nglobal_defs\n{\nfoo\n}",
            "vrrp_instance A {priority 1}; global_defs {}",
            "4: changed: foo, 12: note: foo",
        );
        assert_parsed(
            "vrrp_instance A\n{\nuse_vmac\n{\npriority 2\n}\n}",
            "vrrp_instance A {use_vmac; priority 2}",
            "4: changed: {",
        );
        assert_parsed("nothing\n{\npriority 2\n}\nglobal_defs\n{\n}", "global_defs {}", "1: changed: nothing");
        assert_parsed("priority 1\nstate x", "", "1: note: priority");
    }

    #[test]
    fn a_brace_too_few_makes_the_next_block_a_part_of_this_one() {
        assert_parsed(
            "vrrp_instance A\n{\npriority 1\nvrrp_instance B\n{\npriority 2\n}\nglobal_defs\n{\n}",
            "vrrp_instance A {priority 1; priority 2}; global_defs {}",
            "4: changed: vrrp_instance",
        );
        assert_parsed(
            "vrrp_instance A\n{\nvirtual_ipaddress\n{\n192.0.2.1\nvrrp_instance B\n{\npriority 2\nvirtual_ipaddress\n{\n\
             192.0.2.2\n}\n}",
            "vrrp_instance A {virtual_ipaddress {192.0.2.1; 192.0.2.2}}",
            "3: changed: virtual_ipaddress",
        );
        assert_parsed("vrrp_instance A\n{\npriority 1", "vrrp_instance A {priority 1}", "1: changed: vrrp_instance");
        assert_parsed(
            "vrrp_instance A\npriority 1\ntrack_script\nx\n}\n}",
            "vrrp_instance A {priority 1; track_script {x}}",
            "1: changed: vrrp_instance, 3: changed: track_script",
        );
    }

    #[test]
    fn the_end_of_global_defs_is_found_by_counting_braces() {
        assert_parsed(
            "global_defs\n{\nrouter_id a\nfoo\n{\n}\nrouter_id b\n}\nvrrp_instance A\n{\n}",
            "global_defs {router_id a}; vrrp_instance A {}",
            "4: changed: foo",
        );
        assert_parsed(
            "global_defs\n{\nvrrp_instance A\n{\n}\nvrrp_instance B\n{\n}",
            "global_defs {}",
            "3: changed: vrrp_instance",
        );
        assert_parsed("global_defs\nrouter_id a\n}", "global_defs {router_id a}", "1: changed: global_defs");
    }

    #[test]
    fn a_second_block_of_a_name_and_one_without_a_name_are_ignored() {
        assert_parsed(
            "vrrp_instance A\n{\n}\nvrrp_instance A\n{\nauthentication\n{\n}\n}\nvrrp_instance\n{\n}\n\
             vrrp_instance B C\n{\n}\nvrrp_sync_group A\n{\n}",
            "vrrp_instance A {}; vrrp_sync_group A {}",
            "4: changed: vrrp_instance, 10: changed: vrrp_instance, 13: changed: vrrp_instance",
        );
    }

    #[test]
    fn a_second_list_of_members_ends_the_group() {
        assert_parsed(
            "vrrp_sync_group G\n{\ngroup\n{\nA B\n}\ngroup\n{\nC\n}\nsmtp_alert\n}\nglobal_defs\n{\n}",
            "vrrp_sync_group G {group {A B}}; global_defs {}",
            "7: changed: group",
        );
    }

    #[test]
    fn blocks_of_other_processes_are_skipped_whatever_they_contain() {
        assert_parsed(
            "virtual_server 192.0.2.1 80\n{\nreal_server x\n{\nvrrp_instance B\n}\n}\nvrrp_instance A\n{\n}",
            "virtual_server 192.0.2.1 80 {real_server x}; vrrp_instance A {}",
            "",
        );
    }
}
