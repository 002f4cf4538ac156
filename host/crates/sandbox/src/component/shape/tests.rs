use super::*;

fn bound_of(bytes: &[u8]) -> Option<Bound> {
    match check(bytes) {
        Ok(()) => None,
        Err(Refused::TooComplex(bound)) => Some(bound),
        Err(Refused::Invalid(error)) => panic!("{error}"),
    }
}

/// A section: its id, its length and its content.
fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], leb(content.len()).as_slice(), content].concat()
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A module with one function with so many locals around this code.
fn function_of(locals: usize, code: &[u8]) -> Vec<u8> {
    let groups = [[1].as_slice(), &leb(locals), &[0x7f]].concat();
    let body = [&groups, code, &[0x0b]].concat();
    let body = [leb(body.len()), body].concat();
    [
        MODULE,
        &section(1, &[1, 0x60, 0, 0]),
        &section(3, &[1, 0]),
        &section(10, &[[1].as_slice(), &body].concat()),
    ]
    .concat()
}

fn nested(start: &[u8], times: usize) -> Vec<u8> {
    [start.repeat(times), vec![0x0b; times]].concat()
}

const BLOCK: &[u8] = &[0x02, 0x40];
const LOOP: &[u8] = &[0x03, 0x40];

#[test]
fn a_component_is_bounded_in_each_way_that_costs_more_than_its_length() {
    let components = |depth: usize| {
        (0..depth).fold(COMPONENT.to_vec(), |inner, _| {
            [COMPONENT, &section(4, &inner)].concat()
        })
    };
    let types = |depth: usize| {
        let content = [[1].as_slice(), &[0x42, 1, 1].repeat(depth), &[0x42, 0]].concat();
        [COMPONENT, &section(7, &content)].concat()
    };
    let many = |id: u8, count: usize, item: &[u8]| {
        let content = [leb(count), item.repeat(count)].concat();
        [MODULE, &section(id, &content)].concat()
    };
    for (bound, within, beyond) in [
        (NESTING, components(32), components(33)),
        (NESTING, components(1), components(5_000)),
        (TYPE_NESTING, types(31), types(32)),
        // Parsers end on such a file with their stack.
        (TYPE_NESTING, types(0), types(300_000)),
        (FUNCTIONS, function_of(0, &[]), many(3, 100_001, &[0])),
        (
            ITEMS,
            many(6, 100_000, &[0x7f, 0, 0x41, 0, 0x0b]),
            many(6, 100_001, &[0x7f, 0, 0x41, 0, 0x0b]),
        ),
        (
            FUNCTION_BYTES,
            function_of(0, &[1; 1_000_000]),
            function_of(0, &[1; 1_100_000]),
        ),
        (
            BLOCK_DEPTH,
            function_of(0, &nested(BLOCK, 5_000)),
            function_of(0, &nested(BLOCK, 5_001)),
        ),
        (LOCALS, function_of(10_000, &[]), function_of(10_001, &[])),
        (
            LOOP_DEPTH,
            function_of(0, &nested(LOOP, 100)),
            function_of(0, &nested(LOOP, 101)),
        ),
        (
            LOCALS_IN_LOOPS,
            function_of(2_000, &nested(LOOP, 50)),
            function_of(2_000, &nested(LOOP, 51)),
        ),
        (
            LOCALS_IN_LOOPS,
            // One after another as well.
            function_of(10_000, &[0x03, 0x40, 0x0b].repeat(10)),
            function_of(10_000, &[0x03, 0x40, 0x0b].repeat(11)),
        ),
    ] {
        assert_eq!(bound_of(&within), None, "{bound:?}");
        assert_eq!(bound_of(&beyond), Some(bound));
    }
}

/// Any bytes: it neither panics nor reads past them, and what it lets pass
/// can be walked by parsers that recurse.
#[test]
fn damaged_components_are_refused_or_can_be_walked() {
    let whole = [
        COMPONENT,
        &section(7, &[2, 0x42, 1, 1, 0x42, 0, 0x41, 0]),
        &section(1, &function_of(3, &nested(LOOP, 40))),
        &section(4, &[COMPONENT, &section(7, &[1, 0x42, 0])].concat()),
    ]
    .concat();
    assert_eq!(bound_of(&whole), None);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |end: usize| {
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        (random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    };
    let mut passed = 0;
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=below(4) {
            let at = below(bytes.len());
            match below(3) {
                0 => bytes[at] = below(256) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, [0x41, 0x42, 1, 3, below(256) as u8][below(5)]),
            }
        }
        if check(&bytes).is_ok() {
            passed += 1;
            // Whatever it says.
            let _ = wasmparser::validate(&bytes);
        }
    }
    assert!((100..19_900).contains(&passed), "{passed}");
}

#[test]
fn a_file_that_cannot_be_read_to_its_end_is_invalid() {
    let whole = function_of(1, &nested(BLOCK, 6_000));
    for end in [9, whole.len() / 2, whole.len() - 1] {
        let cut = check(&whole[..end]);
        assert!(matches!(cut, Err(Refused::Invalid(_))), "{end}: {cut:?}");
    }
}
