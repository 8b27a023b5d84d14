//! Between two requests a template allocates nothing but the room for what it writes, which is kept
//! for the next.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use starling::plan::template::{Place, Scope};
use starling::plan::{Declared, JsonTemplate, Names, Slot, Template};

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: all is left to the system's allocator
#[allow(unsafe_code, reason = "an allocator that counts")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct User {
    item: Value,
    random: u64,
}

impl Scope for User {
    fn user(&self) -> u64 {
        7
    }
    fn iteration(&self) -> u64 {
        3
    }
    fn worker(&self) -> u32 {
        2
    }
    fn random(&mut self) -> u64 {
        self.random = self
            .random
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(1);
        self.random
    }
    fn sequence(&mut self) -> u64 {
        11
    }
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)
    }
    fn value(&self, _slot: Slot) -> Option<&Value> {
        Some(&self.item)
    }
    fn batch(&self, _slot: Slot, _count: u32) -> Option<&Value> {
        None
    }
}

fn names() -> Names {
    let mut names = Names::default();
    names.declare("item", Declared::Value(0));
    names.declare("text", Declared::Constant(json!("a \"b\"").into()));
    names
}

#[test]
fn rendering_allocates_nothing() {
    let names = names();
    let body = json!({
        "id": "{{ uuid() }}",
        "user": "{{ user.id }}",
        "n": "{{ iteration }}",
        "text": "{{ text }}, {{ item.name }}",
        "tags": "{{ item.tags }}",
        "size": "{{ randInt(1, 10) }}",
        "word": "{{ randString(12) }}",
        "kind": "{{ pick('a', 'b') }}",
        "at": "{{ now() }}",
        "millis": "{{ now('unixMillis') }}",
        "seq": "{{ seq() }}",
    });
    let body = JsonTemplate::new(body).unwrap().compile(&names).unwrap();
    let path = Template::parse(
        "/users/{{ user.id }}/{{ item.name }}?q={{ randString(4) }}&s={{ item.tags[0] }}",
    )
    .unwrap();
    let path = path.compile(&names, Place::Path).unwrap();
    let header = Template::parse("{{ item.name }}-{{ uuid() }}")
        .unwrap()
        .compile(&names, Place::Header)
        .unwrap();
    let mut scope = User {
        item: json!({"name": "ä \"name\"", "tags": ["x y", 1.5, null]}),
        random: 1,
    };
    let mut out = Vec::with_capacity(4096);
    for _ in 0..2 {
        out.clear();
        let before = COUNT.get();
        for template in [&body, &path, &header] {
            template.render(&mut scope, &mut out).unwrap();
        }
        assert_eq!(COUNT.get() - before, 0, "{}", String::from_utf8_lossy(&out));
    }
    assert!(out.len() > 300);
}
