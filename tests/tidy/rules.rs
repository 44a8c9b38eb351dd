//! The rules. Each takes the repository's files and returns what breaks it.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::source::{Finding, Source, Token, Tree};

/// What one rule finds.
pub(crate) type Rule = fn(&Tree) -> Vec<Finding>;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Everything that ships.
const PRODUCT: [&str; 2] = ["src/", "journal/src/"];
/// Everything in Rust.
const RUST: [&str; 3] = ["src/", "journal/", "tests/"];
/// Modules that see values only.
const PURE: [&str; 5] = ["src/decide", "src/plan", "src/validate", "src/manifests", "src/status"];
/// The half of `status` that writes.
const PUBLISH: &str = "src/status/publish";

/// The journal knows neither the cluster, nor HTTP, nor an async runtime.
pub(crate) fn journal_stands_alone(tree: &Tree) -> Vec<Finding> {
    let words = ["kube", "k8s", "k8s_openapi", "reqwest", "hyper", "http", "axum", "tokio"];
    let words: Vec<&str> = words.into_iter().chain(["rustls", "async", "await"]).collect();
    let mut found = Vec::new();
    for source in tree.rust(&["journal/src/"]) {
        let tokens: Vec<&Token> = source.tokens.iter().collect();
        found.extend(mentions(source, &tokens, &words, "has no place in the journal's crate"));
    }
    for source in tree.0.iter().filter(|source| source.path == "journal/Cargo.toml") {
        for (line, name) in dependencies(source) {
            if words.iter().any(|word| name == *word || name.starts_with(&format!("{word}-"))) {
                let message = format!("the journal's crate must not depend on `{name}`");
                found.push(source.finding(line, message));
            }
        }
    }
    found
}

/// Decisions, validation, manifests and the computed half of a status see values only.
pub(crate) fn pure_modules_see_values_only(tree: &Tree) -> Vec<Finding> {
    let words = [
        "async",
        "await",
        "tokio",
        "futures",
        "reqwest",
        "hyper",
        "axum",
        "Client",
        "Api",
        "GroupClient",
        "Transport",
        "Clock",
        "SystemClock",
        "Instant",
        "SystemTime",
        "Timestamp::now",
        "Zoned::now",
        "rand",
        "getrandom",
        "Uuid::new_v4",
        "Uuid::now_v7",
        "Ids",
        "SystemIds",
        "Store",
        "SledStore",
        "MemoryStore",
        "Ledger",
        "std::env",
        "std::fs",
        "std::process",
        "std::thread",
    ];
    let pure =
        |source: &&Source| PURE.iter().any(|area| source.within(area)) && !source.within(PUBLISH);
    let why = "has no place in a module that sees values only: take the value as an argument";
    tree.rust(&["src/"])
        .filter(pure)
        .flat_map(|source| mentions(source, &source.code(), &words, why))
        .collect()
}

/// Only `clock` reads time.
pub(crate) fn only_clock_reads_time(tree: &Tree) -> Vec<Finding> {
    let words = ["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now", "Utc::now"];
    let why = "is read in src/clock.rs only: take the time as a value";
    product_but(tree, "src/clock.rs")
        .flat_map(|source| mentions(source, &source.code(), &words, why))
        .collect()
}

/// Only `ids` makes ids.
pub(crate) fn only_ids_makes_ids(tree: &Tree) -> Vec<Finding> {
    let words = ["new_v4", "now_v7", "new_v7", "new_v1", "now_v1", "getrandom", "thread_rng"];
    let why = "is called in src/ids.rs only: take the id as a value";
    product_but(tree, "src/ids.rs")
        .flat_map(|source| mentions(source, &source.code(), &words, why))
        .collect()
}

/// The two files above are the only ones that may switch clippy's check of the same off.
pub(crate) fn only_clock_and_ids_allow_disallowed_methods(tree: &Tree) -> Vec<Finding> {
    let why = "may be allowed in src/clock.rs and src/ids.rs only";
    product_but(tree, "src/clock.rs")
        .filter(|source| source.path != "src/ids.rs")
        .flat_map(|source| {
            let tokens: Vec<&Token> = source.tokens.iter().collect();
            mentions(source, &tokens, &["disallowed_methods"], why)
        })
        .collect()
}

/// Only `execute` changes the group or deletes, and only the client's own module defines how.
pub(crate) fn only_execute_has_effects(tree: &Tree) -> Vec<Finding> {
    let words = [
        "post_task",
        "cancel_task",
        "create_grid",
        "update_grid",
        "delete_grid",
        "put_template",
        "delete_template",
        "DeleteParams",
    ];
    let why = "is an effect: only src/execute.rs has effects, after their intent is durable";
    tree.rust(&["src/"])
        .filter(|source| !source.within("src/execute") && !source.within("src/xsld"))
        .flat_map(|source| {
            let code = source.code();
            // A call or an import, not a field or a word of the API profile of the same name.
            let calls = words.map(|word| format!("{word}("));
            let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
            let mut found = mentions(source, &code, &calls, why);
            found.extend(mentions(source, &code, &["DeleteParams"], why));
            found
        })
        .collect()
}

/// What ships does not know that it can be simulated.
pub(crate) fn product_knows_no_simulators(tree: &Tree) -> Vec<Finding> {
    let words =
        ["xsld_sim", "xsld-sim", "xsld_sandbox", "simulat", "sandbox", "loopback", "kubelet_stand"];
    let mut found = Vec::new();
    for source in tree.rust(&PRODUCT) {
        for token in source.code() {
            let text = token.text.to_lowercase();
            for word in words.iter().filter(|word| text.contains(**word)) {
                let message = format!("`{word}`: nothing that ships knows of simulators");
                found.push(source.finding(token.line, message));
            }
        }
    }
    let manifests = ["Cargo.toml", "journal/Cargo.toml"];
    for source in tree.0.iter().filter(|source| manifests.contains(&source.path.as_str())) {
        for (line, name) in dependencies(source).into_iter().filter(|(_, name)| name == "xsld-sim")
        {
            found.push(source.finding(line, format!("what ships must not depend on `{name}`")));
        }
    }
    found
}

/// A file that is longer wants to be two.
pub(crate) fn files_are_short(tree: &Tree) -> Vec<Finding> {
    let long = |source: &Source| {
        let lines = source.text.lines().count();
        let message = format!("{lines} lines; a file has at most {FILE_LINES_MAX}");
        (lines > FILE_LINES_MAX).then(|| source.finding(lines, message))
    };
    tree.rust(&RUST).filter_map(long).collect()
}

/// A function that is longer hides its parts.
pub(crate) fn functions_are_short(tree: &Tree) -> Vec<Finding> {
    struct Functions(Vec<(String, usize, usize)>);
    impl Functions {
        fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
            let first = signature.span().start().line;
            let lines = block.span().end().line + 1 - first;
            self.0.push((signature.ident.to_string(), first, lines));
        }
    }
    impl<'ast> Visit<'ast> for Functions {
        fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
            self.add(&function.sig, &function.block);
            visit::visit_item_fn(self, function);
        }
        fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
            self.add(&function.sig, &function.block);
            visit::visit_impl_item_fn(self, function);
        }
        fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
            if let Some(block) = &function.default {
                self.add(&function.sig, block);
            }
            visit::visit_trait_item_fn(self, function);
        }
    }
    over_syntax(tree.rust(&RUST), |source, file| {
        let mut functions = Functions(Vec::new());
        functions.visit_file(file);
        let long = functions.0.into_iter().filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX);
        long.map(|(name, first, lines)| {
            let limit = FUNCTION_LINES_MAX;
            source.finding(
                first,
                format!("`{name}` has {lines} lines; a function has at most {limit}"),
            )
        })
        .collect()
    })
}

/// A module is named after what it is about, and lies in `name.rs`.
pub(crate) fn modules_are_named_after_their_subject(tree: &Tree) -> Vec<Finding> {
    let vague = ["util", "utils", "helper", "helpers", "common", "misc", "shared", "stuff"];
    let mut found = Vec::new();
    for source in tree.rust(&RUST) {
        let parts: Vec<&str> = source.path.trim_end_matches(".rs").split('/').collect();
        for part in parts.iter().filter(|part| vague.contains(part)) {
            let message = format!("`{part}` says nothing: name the module after its subject");
            found.push(source.finding(1, message));
        }
        if parts.last() == Some(&"mod") {
            let message = "modules lie in `name.rs` and `name/`, not in `name/mod.rs`";
            found.push(source.finding(1, message));
        }
        for pair in source.tokens.windows(2) {
            if pair[0].text == "mod" && vague.contains(&pair[1].text.as_str()) {
                let message =
                    format!("`{}` says nothing: name the module after its subject", pair[1].text);
                found.push(source.finding(pair[0].line, message));
            }
        }
    }
    found
}

/// An open question says what kind of question it is.
pub(crate) fn open_questions_have_a_kind(tree: &Tree) -> Vec<Finding> {
    // Spelt in two parts, so that this file keeps its own rule.
    let markers = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut found = Vec::new();
    for source in tree.rust(&RUST) {
        for (number, line) in numbered(&source.text) {
            for marker in markers {
                let Some((_, rest)) = line.split_once(marker) else { continue };
                let kind = rest.strip_prefix('-').and_then(|kind| kind.chars().next());
                if !kind.is_some_and(|first| first.is_ascii_lowercase()) {
                    let message =
                        format!("`{marker}` without its kind, such as `{marker}-design: …?`");
                    found.push(source.finding(number, message));
                }
            }
        }
    }
    found
}

/// Input never ends the program: errors are values.
pub(crate) fn only_tests_unwrap(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in tree.rust(&RUST) {
        let why = "outside tests: return the error, or `expect` why it cannot happen";
        found.extend(mentions(source, &source.code(), &[".unwrap("], why));
    }
    found
}

/// The repository is about itself: no path of a machine, no number of an issue, and no word for
/// the tools that it was made with.
pub(crate) fn repository_is_about_itself(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut clean = BTreeSet::new();
    for source in &tree.0 {
        for (number, line) in numbered(&source.text) {
            for folder in machine_folders() {
                if names_folder(line, &folder) {
                    found.push(
                        source.finding(number, format!("`{folder}` is a path of one machine")),
                    );
                }
            }
            if names_issue(line) && source.path != "Cargo.lock" {
                found.push(source.finding(number, "a number of an issue: say what it is about"));
            }
            for word in line.split(|c: char| !c.is_ascii_alphabetic()) {
                if word.len() < 3 || word.len() > 16 || clean.contains(word) {
                    continue;
                }
                if is_tool(word) {
                    found.push(
                        source.finding(number, format!("`{word}` is no word of this project")),
                    );
                } else {
                    clean.insert(word.to_owned());
                }
            }
        }
    }
    found
}

/// Spelt in two parts, so that this file keeps its own rule.
fn machine_folders() -> [String; 4] {
    ["work", "root", "home", "Users"].map(|name| format!("/{name}/"))
}

fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let absolute = !before.is_some_and(|c| c.is_alphanumeric() || "._-}*~/$".contains(c));
        let after = &line[at + folder.len()..];
        // The home of somebody with a one-letter name is an example's.
        let name = after.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        absolute && name.len() > 1
    })
}

/// A `#` with a number after a space or a parenthesis, or the word with a number.
fn names_issue(line: &str) -> bool {
    let number = |text: &str| {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let next = text[digits..].chars().next();
        digits > 0 && !next.is_some_and(char::is_alphanumeric)
    };
    let signs = line.match_indices('#').any(|(at, _)| {
        let before = line[..at].chars().next_back();
        matches!(before, None | Some(' ' | '(')) && number(&line[at + 1..])
    });
    let lower = line.to_lowercase();
    signs || lower.match_indices("issue ").any(|(at, word)| number(&lower[at + word.len()..]))
}

/// The first eight bytes of each word's SHA-256, because spelling them here would break the rule.
fn is_tool(word: &str) -> bool {
    const TOOLS: [u64; 13] = [
        0x5abb_3587_4a31_fff2, // a word that the test of this rule makes up
        0xc857_d09d_b23e_6822,
        0xc70e_ca6b_0f88_f44d,
        0x6096_5168_ce76_2e94,
        0x7d31_94f7_9e64_5c42,
        0x053e_a480_4ef1_bb33,
        0x3ea1_25d0_bff3_86e6,
        0x5d72_4362_56ad_a538,
        0x487b_9104_2c7c_f27a,
        0xde21_87af_3fb0_1170,
        0x57de_4cf4_0144_bdf7,
        0xebde_709e_306b_adca,
        0x386e_bc0e_fd04_339a,
    ];
    let digest = Sha256::digest(word.to_lowercase());
    let first = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    TOOLS.contains(&first)
}

/// A new event must be given its meaning everywhere: no match on events has a catch-all arm.
pub(crate) fn every_event_is_named(tree: &Tree) -> Vec<Finding> {
    struct Matches(Vec<usize>);
    impl<'ast> Visit<'ast> for Matches {
        fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
            let on_events = expression.arms.iter().any(|arm| names_event(&arm.pat));
            for arm in expression.arms.iter().filter(|_| on_events) {
                if arm.guard.is_none() && catches_all(&arm.pat) {
                    self.0.push(arm.pat.span().start().line);
                }
            }
            visit::visit_expr_match(self, expression);
        }
    }
    let sources = tree.rust(&["src/decide", "journal/src/state"]);
    over_syntax(sources, |source, file| {
        let mut matches = Matches(Vec::new());
        matches.visit_file(file);
        let lines = matches.0.into_iter().filter(|line| !source.tests_at(*line));
        lines
            .map(|line| source.finding(line, "a catch-all arm in a match on events: name them"))
            .collect()
    })
}

/// Whether `Event::…` occurs in the pattern.
fn names_event(pattern: &syn::Pat) -> bool {
    struct Paths(bool);
    impl<'ast> Visit<'ast> for Paths {
        fn visit_path(&mut self, path: &'ast syn::Path) {
            let qualifier = path.segments.iter().rev().nth(1);
            self.0 |= qualifier.is_some_and(|segment| segment.ident == "Event");
            visit::visit_path(self, path);
        }
    }
    let mut paths = Paths(false);
    paths.visit_pat(pattern);
    paths.0
}

fn catches_all(pattern: &syn::Pat) -> bool {
    match pattern {
        syn::Pat::Wild(_) => true,
        syn::Pat::Ident(name) => name.subpat.is_none(),
        syn::Pat::Tuple(tuple) => tuple.elems.iter().all(catches_all),
        syn::Pat::Reference(inner) => catches_all(&inner.pat),
        _ => false,
    }
}

/// What holds a secret cannot be written out by a derive.
pub(crate) fn secrets_are_not_serialised(tree: &Tree) -> Vec<Finding> {
    struct Types(Vec<(String, usize)>);
    impl Types {
        fn add(
            &mut self,
            name: &syn::Ident,
            attributes: &[syn::Attribute],
            fields: &[&syn::Fields],
        ) {
            let secret = fields.iter().flat_map(|fields| fields.iter()).any(|field| {
                let kind = quote::quote!(#field).to_string();
                kind.contains("SecretString") || kind.contains("SecretBox")
            });
            if secret && derives_serialize(attributes) {
                self.0.push((name.to_string(), name.span().start().line));
            }
        }
    }
    impl<'ast> Visit<'ast> for Types {
        fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
            self.add(&item.ident, &item.attrs, &[&item.fields]);
        }
        fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
            let fields: Vec<&syn::Fields> =
                item.variants.iter().map(|variant| &variant.fields).collect();
            self.add(&item.ident, &item.attrs, &fields);
        }
    }
    over_syntax(tree.rust(&PRODUCT), |source, file| {
        let mut types = Types(Vec::new());
        types.visit_file(file);
        let broken = types.0.into_iter();
        broken
            .map(|(name, line)| {
                source.finding(line, format!("`{name}` holds a secret and derives Serialize"))
            })
            .collect()
    })
}

fn derives_serialize(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("derive")).any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.tokens
            .to_string()
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| word == "Serialize")
    })
}

/// Files of what ships, but one.
fn product_but<'a>(tree: &'a Tree, path: &'static str) -> impl Iterator<Item = &'a Source> {
    tree.rust(&PRODUCT).filter(move |source| source.path != path)
}

/// Findings of `look` in each file, or that it is no Rust.
fn over_syntax<'a>(
    sources: impl Iterator<Item = &'a Source>,
    look: impl Fn(&Source, &syn::File) -> Vec<Finding>,
) -> Vec<Finding> {
    sources
        .flat_map(|source| match source.syntax() {
            Ok(file) => look(source, &file),
            Err(finding) => vec![finding],
        })
        .collect()
}

/// Where `tokens` spell one of `phrases`, such as `Instant::now` or `.unwrap(`.
fn mentions(source: &Source, tokens: &[&Token], phrases: &[&str], why: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for phrase in phrases {
        let words = words(phrase);
        for window in tokens.windows(words.len()) {
            let same = |(token, word): (&&Token, &String)| !token.literal && token.text == *word;
            if window.iter().zip(&words).all(same) {
                found.push(source.finding(window[0].line, format!("`{phrase}` {why}")));
            }
        }
    }
    found
}

/// A phrase in tokens: words as they are, every other sign alone.
fn words(phrase: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut in_word = false;
    for c in phrase.chars() {
        let part_of_word = c.is_alphanumeric() || c == '_';
        match words.last_mut() {
            Some(last) if part_of_word && in_word => last.push(c),
            _ => words.push(c.to_string()),
        }
        in_word = part_of_word;
    }
    words
}

/// Names in the `[dependencies]` table of a manifest, with their lines.
fn dependencies(source: &Source) -> Vec<(usize, String)> {
    let mut within = false;
    let mut found = Vec::new();
    for (number, line) in numbered(&source.text) {
        if line.starts_with('[') {
            within = line.trim() == "[dependencies]";
        } else if within && line.contains('=') && !line.starts_with('#') {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            found.push((number, name.to_owned()));
        }
    }
    found
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}
