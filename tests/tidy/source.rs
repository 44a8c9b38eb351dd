//! The repository as the rules see it: files, tokens without comments, and what is test code.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use walkdir::WalkDir;

/// What breaks a rule, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path below the root, with `/`.
    pub(crate) path: String,
    /// From 1.
    pub(crate) line: usize,
    /// What is wrong, and what to do instead.
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// One word or sign of the code. Comments and documentation are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) literal: bool,
}

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Path below the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The whole file is test code.
    pub(crate) is_test: bool,
    /// Of Rust files; empty when the text is no Rust.
    pub(crate) tokens: Vec<Token>,
    test_lines: Vec<RangeInclusive<usize>>,
}

impl Source {
    /// One file that lies at `path`, with `text` in it.
    fn new(path: &str, text: String) -> Self {
        let (mut tokens, mut lines) = (Vec::new(), TestLines::default());
        if path.ends_with(".rs") {
            if let Ok(stream) = text.parse::<TokenStream>() {
                flatten(stream, &mut tokens);
            }
            if let Ok(file) = syn::parse_file(&text) {
                lines.visit_file(&file);
            }
        }
        let is_test = in_test_folder(path);
        Self { path: path.to_owned(), text, is_test, tokens, test_lines: lines.0 }
    }

    /// Whether this is a Rust file.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The file as syn reads it; an error carries the line.
    pub(crate) fn syntax(&self) -> Result<syn::File, Finding> {
        syn::parse_file(&self.text).map_err(|error| {
            self.finding(error.span().start().line, format!("this is not Rust: {error}"))
        })
    }

    /// Whether the line belongs to tests.
    pub(crate) fn tests_at(&self, line: usize) -> bool {
        self.is_test || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// The tokens that are not test code.
    pub(crate) fn code(&self) -> Vec<&Token> {
        self.tokens.iter().filter(|token| !self.tests_at(token.line)).collect()
    }

    /// Something is wrong here.
    pub(crate) fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, message: message.into() }
    }

    /// Whether the file is `area`, `area.rs`, or lies below `area/`.
    pub(crate) fn within(&self, area: &str) -> bool {
        self.path
            .strip_prefix(area)
            .is_some_and(|rest| matches!(rest, "" | ".rs") || rest.starts_with('/'))
    }
}

/// The files of the repository, or of a sample.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(pub(crate) Vec<Source>);

impl Tree {
    /// All text files below `root` that belong to the repository.
    pub(crate) fn read(root: &Path) -> Self {
        let ours = |name: &str| !matches!(name, "target" | ".git");
        let walk = WalkDir::new(root).sort_by_file_name().into_iter();
        let entries = walk
            .filter_entry(|entry| {
                entry.depth() == 0 || entry.file_name().to_str().is_some_and(ours)
            })
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_file());
        let files = entries.filter_map(|entry| {
            let path = entry.path().strip_prefix(root).ok()?.to_str()?.replace('\\', "/");
            // What is no UTF-8 is no text. A file may also go away while others work.
            let text = std::fs::read_to_string(entry.path()).ok()?;
            Some((path, text))
        });
        Self::new(files)
    }

    /// The given files.
    pub(crate) fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut sources: Vec<Source> =
            files.into_iter().map(|(path, text)| Source::new(&path, text)).collect();
        let tests = test_modules(&sources);
        for source in &mut sources {
            source.is_test |= tests.iter().any(|module| source.within(module));
        }
        Self(sources)
    }

    /// Rust files whose path begins with one of `folders`.
    pub(crate) fn rust<'a>(&'a self, folders: &'a [&str]) -> impl Iterator<Item = &'a Source> {
        let within =
            |source: &&Source| folders.iter().any(|folder| source.path.starts_with(folder));
        self.0.iter().filter(|source| source.is_rust()).filter(within)
    }
}

/// Integration tests lie in the `tests` folder of their package; packages lie in `/tests` too.
fn in_test_folder(path: &str) -> bool {
    if !path.ends_with(".rs") {
        return false;
    }
    let Some(rest) = path.strip_prefix("tests/") else {
        return path.contains("/tests/") && !path.starts_with("src/");
    };
    !rest.contains("/src/") || rest.starts_with("tidy/")
}

/// Modules that exist in tests only, as paths without `.rs`.
fn test_modules(sources: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let Ok(file) = syn::parse_file(&source.text) else { continue };
        let folder = module_folder(&source.path);
        for item in file.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
                && for_tests(&module.attrs)
            {
                found.insert(
                    path_attribute(&source.path, &module.attrs)
                        .unwrap_or_else(|| format!("{folder}{}", module.ident)),
                );
            }
        }
    }
    found
}

/// The module that `#[path = "a.rs"]` names, which lies beside the file at `path`.
fn path_attribute(path: &str, attributes: &[syn::Attribute]) -> Option<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    attributes.iter().filter(|attribute| attribute.path().is_ident("path")).find_map(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(file), .. }) = &pair.value else {
            return None;
        };
        Some(format!("{folder}/{}", file.value().trim_end_matches(".rs")))
    })
}

/// Where the submodules of a file lie, with a `/` at the end.
fn module_folder(path: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    match name {
        "lib" | "main" => format!("{folder}/"),
        _ => format!("{stem}/"),
    }
}

/// Collects the lines of items that exist in tests only.
#[derive(Default)]
struct TestLines(Vec<RangeInclusive<usize>>);

impl TestLines {
    fn add(&mut self, node: &impl Spanned) {
        let span = node.span();
        self.0.push(span.start().line..=span.end().line);
    }
}

impl<'ast> Visit<'ast> for TestLines {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if for_tests(attributes(item)) { self.add(item) } else { visit::visit_item(self, item) }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if for_tests(&function.attrs) {
            self.add(function)
        }
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    use syn::Item;
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether the attributes say `cfg(test)` or `test`.
fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        if path.segments.last().is_some_and(|last| last.ident == "test") {
            return true;
        }
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let words = list.tokens.to_string();
        path.is_ident("cfg")
            && words.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "test")
            && !words.contains("not")
    })
}

/// All tokens in order, groups with their delimiters, without documentation.
fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let start = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                if open == "[" && is_documentation(&group.stream()) {
                    drop_attribute_signs(tokens);
                    continue;
                }
                let end = group.span_close().start().line;
                tokens.push(Token { line: start, text: open.to_owned(), literal: false });
                flatten(group.stream(), tokens);
                tokens.push(Token { line: end, text: close.to_owned(), literal: false });
            }
            TokenTree::Literal(literal) => {
                tokens.push(Token { line: start, text: literal.to_string(), literal: true });
            }
            other => tokens.push(Token { line: start, text: other.to_string(), literal: false }),
        }
    }
}

/// Whether the inside of `#[…]` is `doc = "…"`.
fn is_documentation(inside: &TokenStream) -> bool {
    let mut trees = inside.clone().into_iter();
    matches!(trees.next(), Some(TokenTree::Ident(word)) if word == "doc")
        && matches!(trees.next(), Some(TokenTree::Punct(sign)) if sign.as_char() == '=')
}

/// Takes back the `#` or `#!` before a dropped attribute.
fn drop_attribute_signs(tokens: &mut Vec<Token>) {
    while tokens
        .last()
        .is_some_and(|token| !token.literal && matches!(token.text.as_str(), "#" | "!"))
    {
        tokens.pop();
    }
}
