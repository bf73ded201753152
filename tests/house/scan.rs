//! Rust source as tokens: its modules, what they define and import, the paths in them, the lengths of functions. Code inside of macros is
//! read like any other; comments and strings are no tokens, or single ones.

use std::collections::HashSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// How a path stands in the source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// In code.
    Code,
    /// In a `use`, under this name.
    Import { name: String, public: bool },
    /// A `use` of all that a module has.
    Glob { public: bool },
}

/// A path of two segments or more, or one that is imported.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    /// Under `#[cfg(test)]`.
    pub(crate) test: bool,
}

/// A module: a file, or a `mod { }` in one.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) path: Vec<String>,
    pub(crate) file: String,
    /// Names of what it defines.
    pub(crate) items: HashSet<String>,
    pub(crate) paths: Vec<Path>,
    /// Every identifier outside of `use`, fields and methods.
    pub(crate) words: HashSet<String>,
}

/// A function's name, first line and number of lines.
pub(crate) type Function = (String, usize, usize);

/// What is read of one file.
pub(crate) struct Scan {
    pub(crate) modules: Vec<Module>,
    pub(crate) functions: Vec<Function>,
}

/// Reads a file that is the module `path`.
pub(crate) fn scan(file: &str, path: &[String], text: &str) -> Scan {
    let tokens: TokenStream = text
        .parse()
        .unwrap_or_else(|e| panic!("{file} is no Rust: {e}"));
    let mut scan = Scan {
        modules: Vec::new(),
        functions: Vec::new(),
    };
    scan.module(file, path.to_vec(), tokens, false);
    scan
}

fn word(token: Option<&TokenTree>) -> Option<String> {
    match token? {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    }
}

fn is(token: Option<&TokenTree>, c: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == c)
}

/// Whether `::` begins at `i`.
fn colons(tokens: &[TokenTree], i: usize) -> bool {
    is(tokens.get(i), ':') && is(tokens.get(i + 1), ':')
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

fn group(token: Option<&TokenTree>, delimiter: Delimiter) -> Option<TokenStream> {
    match token? {
        TokenTree::Group(g) if g.delimiter() == delimiter => Some(g.stream()),
        _ => None,
    }
}

impl Scan {
    fn module(&mut self, file: &str, path: Vec<String>, tokens: TokenStream, test: bool) {
        let mut module = Module {
            path,
            file: file.to_owned(),
            ..Module::default()
        };
        self.tokens(&mut module, tokens, test, true);
        self.modules.push(module);
    }

    /// `top`: directly in the module, where items are its items.
    fn tokens(&mut self, module: &mut Module, tokens: TokenStream, test: bool, top: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut i = 0;
        // Whether the item at hand has the attribute cfg(test).
        let mut marked = false;
        while let Some(token) = tokens.get(i) {
            let test_here = test || marked;
            match token {
                TokenTree::Punct(p) if p.as_char() == '#' => {
                    if let Some(attribute) = group(tokens.get(i + 1), Delimiter::Bracket) {
                        marked |= attribute.to_string().replace(' ', "") == "cfg(test)";
                    }
                }
                TokenTree::Punct(p) if p.as_char() == ';' => marked = false,
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                TokenTree::Group(g) => {
                    self.tokens(module, g.stream(), test_here, false);
                    if g.delimiter() == Delimiter::Brace {
                        marked = false;
                    }
                }
                TokenTree::Ident(ident) => {
                    let name = ident.to_string();
                    let next = word(tokens.get(i + 1));
                    let body = group(tokens.get(i + 2), Delimiter::Brace);
                    match (name.as_str(), next, body) {
                        ("mod", Some(inner), Some(body)) => {
                            let path = [&module.path[..], &[inner]].concat();
                            self.module(&module.file.clone(), path, body, test_here);
                            marked = false;
                            i += 3;
                            continue;
                        }
                        // Not the `use<'a>` of a type.
                        ("use", ..) if !is(tokens.get(i + 1), '<') => {
                            let end = (i..tokens.len())
                                .find(|&j| is(tokens.get(j), ';'))
                                .unwrap_or(tokens.len());
                            let before = i.checked_sub(1).and_then(|j| tokens.get(j));
                            let public = word(before).is_some_and(|w| w == "pub")
                                || group(before, Delimiter::Parenthesis).is_some();
                            tree(&tokens[i + 1..end], &[], &mut |segments, line, name| {
                                let kind = name.map_or(Kind::Glob { public }, |name| {
                                    Kind::Import { name, public }
                                });
                                module.paths.push(Path {
                                    segments,
                                    line,
                                    kind,
                                    test: test_here,
                                });
                            });
                            i = end;
                            continue;
                        }
                        ("fn", Some(function), _) => {
                            let end = tokens[i..].iter().find(|t| {
                                is(Some(t), ';') || group(Some(t), Delimiter::Brace).is_some()
                            });
                            if let Some(body @ TokenTree::Group(_)) = end {
                                let lines = body.span().end().line + 1 - line(token);
                                self.functions.push((function.clone(), line(token), lines));
                            }
                            if top {
                                module.items.insert(function);
                            }
                            i += 2;
                            continue;
                        }
                        (
                            "struct" | "enum" | "union" | "trait" | "type" | "const" | "static",
                            Some(item),
                            _,
                        ) if top && item != "fn" => drop(module.items.insert(item)),
                        _ => i = self.path(module, &tokens, i, test_here),
                    }
                }
            }
            i += 1;
        }
    }

    /// Takes in the path that begins at the identifier `i`, if one does; where it ends.
    fn path(&mut self, module: &mut Module, tokens: &[TokenTree], i: usize, test: bool) -> usize {
        let before = |n: usize| i.checked_sub(n).and_then(|j| tokens.get(j));
        let mut segments: Vec<String> = word(tokens.get(i)).into_iter().collect();
        // A field, a method or a lifetime.
        let field = is(before(1), '.') && !is(before(2), '.');
        if field || is(before(1), '\'') {
            return i;
        }
        if !test {
            module.words.extend(segments.iter().cloned());
        }
        let mut end = i;
        while colons(tokens, end + 1) && word(tokens.get(end + 3)).is_some() {
            segments.extend(word(tokens.get(end + 3)));
            end += 3;
        }
        // What follows the `::` of `<T as Trait>::` or of a macro's variable is no path of its own.
        let goes_on = is(before(1), ':') && is(before(2), ':');
        if segments.len() > 1 && (!goes_on || segments[0] == "wgpu") {
            module.paths.push(Path {
                segments,
                line: line(&tokens[i]),
                kind: Kind::Code,
                test,
            });
        }
        end
    }
}

/// Hands out the leaves of a use tree: segments, line, and the name that each gets, none for `*`.
fn tree(
    tokens: &[TokenTree],
    prefix: &[String],
    leaf: &mut impl FnMut(Vec<String>, usize, Option<String>),
) {
    for branch in tokens.split(|t| is(Some(t), ',')) {
        let mut segments = prefix.to_vec();
        let mut name = None;
        let mut i = 0;
        let mut done = branch.is_empty();
        while let Some(token) = branch.get(i) {
            match token {
                TokenTree::Ident(ident) if ident == "as" => {
                    name = word(branch.get(i + 1));
                    i += 1;
                }
                // `{self, ..}` is the module itself.
                TokenTree::Ident(ident) if ident == "self" && i == 0 && !prefix.is_empty() => {}
                TokenTree::Ident(ident) => segments.push(ident.to_string()),
                TokenTree::Group(g) => {
                    let inner: Vec<TokenTree> = g.stream().into_iter().collect();
                    tree(&inner, &segments, leaf);
                    done = true;
                }
                TokenTree::Punct(p) if p.as_char() == '*' => {
                    leaf(segments.clone(), line(token), None);
                    done = true;
                }
                _ => {}
            }
            i += 1;
        }
        if !done {
            let name = name.or_else(|| segments.last().cloned());
            leaf(segments, line(&branch[0]), name);
        }
    }
}
