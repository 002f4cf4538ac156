//! Owns [`Parts`]: how many memories, tables and core instances one instance of
//! a component is made of, worked out before it is compiled and checked against
//! one limit for every engine.

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, CompositeInnerType, Encoding, Instance, MemoryType,
    Parser, Payload, TypeRef,
};
use wasmtime::component::Component;

/// Linear memories and tables of one instance. Compilers make one or two;
/// composed components have some for each part.
pub(crate) const MEMORIES_MAX: u32 = 64;
pub(crate) const TABLES_MAX: u32 = 64;
/// Instances of core modules: componentize-py makes some 15.
pub(crate) const CORE_INSTANCES_MAX: u32 = 256;

/// Tables and core instances for each instance of a component: a usual one has
/// one memory, one or two tables and up to four core instances.
pub(crate) const TABLES_EACH: u32 = 2;
pub(crate) const CORE_INSTANCES_EACH: u32 = 4;

/// What one instance of a component is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Linear memories, and one more for garbage-collected objects.
    pub(crate) memories: u32,
    pub(crate) tables: u32,
    pub(crate) core_instances: u32,
}

/// A part that is not provided, and what to do without it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: String,
    pub(crate) hint: &'static str,
}

impl Parts {
    /// How many of the host's places one call takes: a place is one memory with
    /// its share of tables and core instances.
    pub(crate) fn places(&self) -> u32 {
        let tables = self.tables.div_ceil(TABLES_EACH);
        let core_instances = self.core_instances.div_ceil(CORE_INSTANCES_EACH);
        self.memories.max(tables).max(core_instances).max(1)
    }

    /// The parts of a compiled component whose bytes are `outline`.
    pub(crate) fn of(component: &Component, outline: &Outline) -> Result<Self, Refused> {
        // None where it imports modules, which no handler can.
        let required = component.resources_required();
        let (memories, tables) =
            required.map_or((0, 0), |parts| (parts.num_memories, parts.num_tables));
        let parts = Self {
            memories: memories.saturating_add(u32::from(outline.collected)),
            tables,
            core_instances: outline.core_instances,
        };
        const HINT: &str = "compose it of fewer modules";
        limited(parts.memories, MEMORIES_MAX, "linear memories", HINT)?;
        limited(parts.tables, TABLES_MAX, "tables", HINT)?;
        Ok(parts)
    }
}

/// What can be said of a component before it is compiled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    core_instances: u32,
    // Whether it may allocate garbage-collected objects, exceptions included.
    collected: bool,
}

impl Outline {
    /// Reads it from the bytes of a component. Of one that is not valid it says
    /// whatever can be read: the compiler says what is wrong with it.
    ///
    /// # Errors
    /// [`Refused`], where the component needs what no engine of the host has.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Refused> {
        let mut walk = Walk::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.and_then(|payload| walk.payload(&payload)) {
                Ok(()) if !walk.shared => {}
                _ => break,
            }
        }
        if walk.shared {
            return Err(Refused {
                reason: "has a shared memory: handlers have no threads".into(),
                hint: "build it without threads: without `-pthread`, `+atomics` or `--shared-memory`",
            });
        }
        limited(
            walk.root,
            CORE_INSTANCES_MAX,
            "instances of core modules",
            "link its modules into fewer",
        )?;
        Ok(Self {
            core_instances: walk.root,
            collected: walk.collected,
        })
    }
}

fn limited(found: u32, limit: u32, what: &str, hint: &'static str) -> Result<(), Refused> {
    if found <= limit {
        return Ok(());
    }
    Err(Refused {
        reason: format!("has {found} {what}; the limit is {limit}"),
        hint,
    })
}

/// The way through a component. Components in it are counted once, where they
/// are defined, and added wherever they are instantiated.
#[derive(Default)]
struct Walk {
    // The components and modules around the place that is read, outermost first.
    around: Vec<Level>,
    root: u32,
    // Of any component so far: what stands for one that is only known at run time.
    largest: u32,
    collected: bool,
    shared: bool,
}

#[derive(Default)]
struct Level {
    is_component: bool,
    core_instances: u32,
    // Its index space of components: the core instances of each.
    components: Vec<u32>,
}

impl Walk {
    fn payload(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::Version { encoding, .. } => self.around.push(Level {
                is_component: *encoding == Encoding::Component,
                ..Level::default()
            }),
            Payload::End(_) => self.end(),
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { .. } = instance? {
                        self.instantiated(1);
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    if let ComponentInstance::Instantiate {
                        component_index, ..
                    } = instance?
                    {
                        let inner = self.component(0, component_index);
                        self.instantiated(inner);
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    if let ComponentTypeRef::Component(_) = import?.ty {
                        self.defined(self.largest);
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Component {
                        self.defined(self.component(0, export.index));
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.alias(&alias?);
                }
            }
            module => self.module(module)?,
        }
        Ok(())
    }

    /// Notes what a core module is made of.
    fn module(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section.clone() {
                    self.collected |= group?.types().any(|ty| {
                        use CompositeInnerType::{Array, Struct};
                        matches!(ty.composite_type.inner, Array(_) | Struct(_))
                    });
                }
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    match import?.ty {
                        TypeRef::Memory(memory) => self.memory(&memory),
                        TypeRef::Tag(_) => self.collected = true,
                        _ => {}
                    }
                }
            }
            Payload::TableSection(section) => {
                for table in section.clone() {
                    self.collected |= !table?.ty.element_type.is_func_ref();
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    self.memory(&memory?);
                }
            }
            Payload::TagSection(section) => self.collected |= section.count() > 0,
            _ => {}
        }
        Ok(())
    }

    fn memory(&mut self, memory: &MemoryType) {
        self.shared |= memory.shared;
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::InstanceExport {
                kind: ComponentExternalKind::Component,
                ..
            } => self.defined(self.largest),
            ComponentAlias::Outer {
                kind: ComponentOuterAliasKind::Component,
                count,
                index,
            } => self.defined(self.component(*count, *index)),
            _ => {}
        }
    }

    /// The core instances of a component, so many levels out.
    fn component(&self, outwards: u32, index: u32) -> u32 {
        let level = self.around.iter().rev().nth(outwards as usize);
        let component = level.and_then(|level| level.components.get(index as usize));
        component.copied().unwrap_or(self.largest)
    }

    fn defined(&mut self, core_instances: u32) {
        if let Some(level) = self.around.last_mut() {
            level.components.push(core_instances);
        }
    }

    fn instantiated(&mut self, core_instances: u32) {
        if let Some(level) = self.around.last_mut() {
            level.core_instances = level.core_instances.saturating_add(core_instances);
        }
    }

    fn end(&mut self) {
        let Some(level) = self.around.pop() else {
            return;
        };
        if !level.is_component {
            return;
        }
        self.root = level.core_instances;
        self.largest = self.largest.max(level.core_instances);
        self.defined(level.core_instances);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(text: &str) -> Result<Outline, Refused> {
        Outline::of(&wat::parse_str(text).unwrap())
    }

    fn core_instances(text: &str) -> u32 {
        outline(text).unwrap().core_instances
    }

    #[test]
    fn a_component_in_a_component_counts_wherever_it_is_instantiated() {
        let text = "(component
            (component $two (core module $m) (core instance (instantiate $m)) (core instance (instantiate $m)))
            (component $four (alias outer 1 $two (component $c)) (instance (instantiate $c)) (instance (instantiate $c)))
            (instance (instantiate $four)) (instance (instantiate $two))
            (core module $own) (core instance (instantiate $own)))";
        assert_eq!(core_instances(text), 4 + 2 + 1);
    }

    #[test]
    fn what_doubles_with_each_level_is_refused_before_it_is_compiled() {
        let mut text =
            "(component $c0 (core module $m) (core instance (instantiate $m)))".to_owned();
        for level in 1..40 {
            let inner = level - 1;
            text.push_str(&format!(
                "(component $c{level} (alias outer 1 $c{inner} (component $i))
                   (instance (instantiate $i)) (instance (instantiate $i)))"
            ));
        }
        let text = format!("(component {text} (instance (instantiate $c39)))");
        let refused = outline(&text).unwrap_err();
        assert_eq!(
            refused.reason,
            "has 4294967295 instances of core modules; the limit is 256"
        );
    }

    #[test]
    fn a_component_that_is_only_known_at_run_time_counts_as_the_largest() {
        let text = "(component
            (component $three (core module $m)
                (core instance (instantiate $m)) (core instance (instantiate $m)) (core instance (instantiate $m)))
            (component $any (import \"c\" (component $c)) (instance (instantiate $c)))
            (instance (instantiate $any (with \"c\" (component $three)))))";
        assert_eq!(core_instances(text), 3);
    }

    #[test]
    fn what_is_collected_takes_a_memory_and_what_is_shared_is_refused() {
        let collected = |module: &str| {
            let text = format!("(component (core module {module}))");
            outline(&text).unwrap().collected
        };
        assert!(collected("(type (struct))"));
        assert!(collected("(type (array i8))"));
        assert!(collected("(tag)"));
        assert!(collected("(table 1 externref)"));
        assert!(!collected("(table 1 funcref) (memory 1)"));
        for memory in [
            "(memory 1 1 shared)",
            "(import \"\" \"\" (memory 1 1 shared))",
        ] {
            let refused = outline(&format!("(component (core module {memory}))"));
            assert!(refused.unwrap_err().reason.contains("shared memory"));
        }
    }

    #[test]
    fn a_call_takes_as_many_places_as_its_scarcest_part() {
        let places = |memories, tables, core_instances| {
            Parts {
                memories,
                tables,
                core_instances,
            }
            .places()
        };
        assert_eq!(places(1, 2, 4), 1);
        assert_eq!(places(0, 0, 0), 1);
        assert_eq!(places(62, 1, 63), 62);
        assert_eq!(places(1, 5, 4), 3);
        assert_eq!(places(1, 1, 63), 16);
    }
}
