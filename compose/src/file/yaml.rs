//! YAML text to trees: anchors, merge keys, tags, duplicate keys and limits.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use granit_parser::{Event, Parser, ScalarStyle, StructureStyle, Tag as YamlTag};

use super::node::{Map, Node, Tag, Value};
use super::report::Report;
use super::scalar;
use super::source::{FileId, Span};
use super::syntax;
use super::trace::{self, Cause};

/// The deepest nesting of a file that people write is about ten.
const MAX_DEPTH: usize = 64;
/// Nodes of one document that aliases stand for; docker compose stops in this order as well.
const MAX_ALIASED_NODES: usize = 200_000;

/// Reads all documents of a file. What is wrong goes to `report`; the documents before it are
/// returned, the one that is broken is not.
pub(crate) fn documents(report: &mut Report, file: FileId) -> Vec<Node> {
    let text = report.sources.text(file).clone();
    let mut reader = Reader {
        report,
        file,
        anchors: HashMap::new(),
        open: Vec::new(),
        lists: Vec::new(),
        maps: Vec::new(),
        texts: Texts::default(),
        documents: Vec::new(),
        aliased: 0,
        broken: false,
    };
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        simple_key_max_lookahead: 4096,
        emit_unresolved_aliases: true,
        bom_inside_document_as_content: true,
        block_scalar_eof_without_line_feed: true,
    };
    for event in Parser::new_from_str_with_options(&text, options) {
        match event {
            Ok((event, span)) => reader.event(event, span),
            Err(error) => {
                let at = reader.span_at(error.marker().byte_offset().unwrap_or(text.len()));
                reader.syntax_error(at, &error.info());
                return reader.documents;
            }
        }
        if reader.broken {
            return reader.documents;
        }
    }
    reader.documents
}

/// A collection that has begun and not ended.
struct Open {
    anchor: usize,
    tag: Option<Kind>,
    start: Span,
    /// In brackets.
    flow: bool,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        map: Map,
        /// The key that waits for its value.
        key: Option<Key>,
        /// Maps named by `<<`, in order, and where.
        merged: Vec<Map>,
        merge_key: Option<Span>,
    },
}

/// A key whose value comes next.
struct Key {
    name: Arc<str>,
    span: Span,
    /// The mapping has it already.
    is_second: bool,
}

/// What an explicit tag says about a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reset,
    Override,
    Text,
    Binary,
    /// `!!int` and the like: read as if there was no tag.
    Plain,
}

/// Short texts that were read lately: keys and values come again in each service, and need memory once.
struct Texts([Option<Arc<str>>; Texts::PLACES]);

impl Default for Texts {
    fn default() -> Self {
        Self([const { None }; Self::PLACES])
    }
}

impl Texts {
    const PLACES: usize = 128;
    const SHORT: usize = 32;

    fn get(&mut self, text: &str) -> Arc<str> {
        let (Some(first), Some(last)) = (text.as_bytes().first(), text.as_bytes().last()) else {
            return text.into();
        };
        if text.len() > Self::SHORT {
            return text.into();
        }
        let mixed = text.len() * 31 + usize::from(*first) * 7 + usize::from(*last);
        match &mut self.0[mixed % Self::PLACES] {
            Some(known) if **known == *text => known.clone(),
            place => place.insert(text.into()).clone(),
        }
    }
}

struct Reader<'r> {
    report: &'r mut Report,
    file: FileId,
    /// Finished anchors with their number of nodes.
    anchors: HashMap<usize, (Arc<Node>, usize)>,
    open: Vec<Open>,
    /// Collections that have ended: those that begin are put together in their memory, and take no more than they need.
    lists: Vec<Vec<Node>>,
    maps: Vec<Map>,
    texts: Texts,
    documents: Vec<Node>,
    /// Nodes that aliases of this document have stood for.
    aliased: usize,
    broken: bool,
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>, at: granit_parser::Span) {
        let span = self.span(at);
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                self.aliased = 0;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let kind = tag.and_then(|tag| self.kind(&tag, span));
                let value = self.scalar(&text, style, kind, span);
                self.finish(anchor, Node { value, span, tag: merge_tag(kind) }, style);
            }
            Event::SequenceStart(style, anchor, tag) => {
                let tag = tag.and_then(|tag| self.kind(&tag, span));
                let flow = style == StructureStyle::Flow;
                self.open.push(Open {
                    anchor,
                    tag,
                    start: span,
                    flow,
                    content: Content::List(self.lists.pop().unwrap_or_default()),
                });
            }
            Event::MappingStart(style, anchor, tag) => {
                let tag = tag.and_then(|tag| self.kind(&tag, span));
                let content = Content::Map {
                    map: self.maps.pop().unwrap_or_default(),
                    key: None,
                    merged: Vec::new(),
                    merge_key: None,
                };
                let flow = style == StructureStyle::Flow;
                self.open.push(Open { anchor, tag, start: span, flow, content });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => self.alias(id, span),
            Event::UnresolvedAlias(name) => {
                let message = format!("there is no anchor `&{name}` before this alias");
                self.report
                    .error(span, message)
                    .help("an anchor stands before the value that it names: `&NAME`");
                self.broken = true;
            }
            _ => {}
        }
    }

    fn kind(&mut self, tag: &YamlTag, span: Span) -> Option<Kind> {
        if tag.handle() == "!" {
            match tag.suffix() {
                "reset" => return Some(Kind::Reset),
                "override" => return Some(Kind::Override),
                "" => return Some(Kind::Text),
                _ => {}
            }
        } else {
            match tag.handle().strip_prefix("tag:yaml.org,2002:").map(|_| tag.suffix()) {
                Some("str") => return Some(Kind::Text),
                Some("binary") => return Some(Kind::Binary),
                Some(_) => return Some(Kind::Plain),
                None => {}
            }
        }
        let written = tag.original();
        let before = self.report.sources.before(span).rfind(written.as_str());
        let place = before.map_or(span, |at| self.span_at(at).part(0, written.len()));
        self.report
            .error(place, format!("unknown tag `{written}`"))
            .did_you_mean(&written, ["!reset", "!override"])
            .help("compose files know `!reset` and `!override`");
        None
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, kind: Option<Kind>, span: Span) -> Value {
        match kind {
            Some(Kind::Text) => Value::Text(self.texts.get(text)),
            Some(Kind::Binary) => {
                let packed: String = text.split_whitespace().collect();
                let bytes = base64::engine::general_purpose::STANDARD.decode(packed).ok();
                match bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
                    Some(text) => Value::Text(text.into()),
                    None => {
                        self.report.error(span, "this is not base64 of UTF-8 text");
                        Value::Text("".into())
                    }
                }
            }
            _ if style == ScalarStyle::Plain => {
                scalar::special(text).unwrap_or_else(|| Value::Text(self.texts.get(text)))
            }
            _ => Value::Text(self.texts.get(text)),
        }
    }

    fn close(&mut self, end: Span) {
        let Some(open) = self.open.pop() else { return };
        let span = Span { end: end.end.max(open.start.start), ..open.start };
        let value = match open.content {
            Content::List(mut items) => {
                #[expect(clippy::drain_collect, reason = "the memory is for the next list")]
                let all = items.drain(..).collect();
                self.lists.push(items);
                Value::List(all)
            }
            Content::Map { mut map, merged, .. } => {
                for (key, entry) in merged.into_iter().flatten() {
                    match map.get_mut(&key) {
                        Some(own) => {
                            let below = Cause::Replaces(entry.node.span);
                            own.span = self.report.sources.traced(own.span, below);
                        }
                        None => map.insert(key, entry.key, entry.node),
                    }
                }
                let all = map.take_all();
                self.maps.push(map);
                Value::Map(all)
            }
        };
        let node = Node { value, span, tag: merge_tag(open.tag) };
        self.finish(open.anchor, node, ScalarStyle::DoubleQuoted);
    }

    fn alias(&mut self, id: usize, span: Span) {
        let Some((node, count)) = self.anchors.get(&id).cloned() else {
            self.report
                .error(span, "this alias stands inside of the value that it names")
                .help("a value cannot contain itself");
            self.broken = true;
            return;
        };
        if self.over_limit(count, span) {
            return;
        }
        let mut node = (*node).clone();
        let cause = if self.merging() { Cause::Merge(span) } else { Cause::Alias(span) };
        trace::mark(&mut self.report.sources, &mut node, &cause);
        self.place_node(node, span, ScalarStyle::DoubleQuoted);
    }

    /// True if what comes next is the value of `<<`, or one of several.
    fn merging(&self) -> bool {
        let waits = |open: &Open| match &open.content {
            Content::Map { key: Some(key), merge_key, .. } => *merge_key == Some(key.span),
            _ => false,
        };
        match self.open.as_slice() {
            [.., outer, Open { content: Content::List(_), .. }] => waits(outer),
            [.., inner] => waits(inner),
            [] => false,
        }
    }

    /// Counts nodes that an alias stands for; true, with an error, if that is too many.
    fn over_limit(&mut self, more: usize, span: Span) -> bool {
        self.aliased += more;
        if self.aliased > MAX_ALIASED_NODES {
            let message = format!("aliases stand for more than {MAX_ALIASED_NODES} values");
            self.report.error(span, message).help("aliases of aliases multiply");
            self.broken = true;
        }
        self.broken
    }

    /// A node is complete: remember its anchor and give it to its parent.
    fn finish(&mut self, anchor: usize, node: Node, style: ScalarStyle) {
        let span = node.span;
        if anchor != 0 {
            let count = node.count();
            self.anchors.insert(anchor, (Arc::new(node.clone()), count));
        }
        self.place_node(node, span, style);
    }

    fn place_node(&mut self, node: Node, span: Span, style: ScalarStyle) {
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open { content: Content::List(items), .. }) => items.push(node),
            Some(Open { content: Content::Map { key, .. }, .. }) => match key.take() {
                None => self.key(node, span, style),
                Some(key) => self.entry(key, node, span),
            },
        }
    }

    fn key(&mut self, node: Node, span: Span, style: ScalarStyle) {
        let merge = style == ScalarStyle::Plain && node.as_str() == Some("<<");
        let name: Arc<str> = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Time(_) => {
                let written = self.report.sources.slice(span).to_owned();
                self.report
                    .error(span, format!("the key `{written}` is {}, not a string", node.kind()))
                    .help(format!("write \"{written}\""));
                written.into()
            }
            Value::List(_) | Value::Map(_) => {
                self.report.error(span, "a key must be a string");
                "".into()
            }
        };
        let Some(Open { content: Content::Map { map, key, merge_key, .. }, .. }) =
            self.open.last_mut()
        else {
            return;
        };
        let first = if merge { *merge_key } else { map.entry(&name).map(|entry| entry.key) };
        if merge {
            *merge_key = Some(span);
        }
        let is_second = !merge && first.is_some();
        *key = Some(Key { name: name.clone(), span, is_second });
        if let Some(first) = first {
            self.report
                .error(span, format!("duplicate key `{name}`"))
                .also(first, "first defined here")
                .help("keep one of them, or join their values");
        }
    }

    fn entry(&mut self, key: Key, node: Node, span: Span) {
        let Some(Open { content: Content::Map { map, merged, merge_key, .. }, .. }) =
            self.open.last_mut()
        else {
            return;
        };
        if *merge_key != Some(key.span) {
            if !key.is_second {
                map.add(key.name, key.span, node);
            }
            return;
        }
        match node.value {
            Value::Map(map) => merged.push(map),
            Value::List(items) if items.iter().all(|item| item.as_map().is_some()) => {
                merged.extend(items.into_iter().filter_map(|item| match item.value {
                    Value::Map(map) => Some(map),
                    _ => None,
                }));
            }
            _ => {
                let written = node.span;
                self.report
                    .error(span, "`<<` needs a mapping or a list of mappings")
                    .also(written, format!("this is {}", node.kind()))
                    .help("lists cannot be merged; only mappings can");
            }
        }
    }

    fn syntax_error(&mut self, span: Span, message: &str) {
        let flow = self.open.iter().rev().find(|open| open.flow);
        let bracket = flow.map(|open| open.start.part(0, 1));
        syntax::explain(self.report, span, message, bracket, MAX_DEPTH);
    }

    fn span(&self, span: granit_parser::Span) -> Span {
        let offset = |byte: Option<usize>| u32::try_from(byte.unwrap_or(0)).unwrap_or(u32::MAX);
        let (start, end) = (offset(span.start.byte_offset()), offset(span.end.byte_offset()));
        Span { start, end: end.max(start), ..self.file.start() }
    }

    fn span_at(&self, byte: usize) -> Span {
        let length = self.report.sources.text(self.file).len();
        let start = u32::try_from(byte.min(length)).unwrap_or(u32::MAX);
        Span { start, end: start, ..self.file.start() }
    }
}

fn merge_tag(kind: Option<Kind>) -> Tag {
    match kind {
        Some(Kind::Reset) => Tag::Reset,
        Some(Kind::Override) => Tag::Override,
        _ => Tag::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_themselves() {
        let mut texts = Texts::default();
        // The first and the last letter are the same, and the length.
        let alike = ["abc", "adc", "abc", "aec", "", "ü", "a", "a"];
        for text in alike {
            assert_eq!(&*texts.get(text), text);
        }
        assert!(Arc::ptr_eq(&texts.get("image"), &texts.get("image")));
        let long = "x".repeat(Texts::SHORT + 1);
        assert_eq!(*texts.get(&long), *long);
    }
}
