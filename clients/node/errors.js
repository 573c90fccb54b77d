/** Why a lookup table cannot be read. */
export class LookupTableError extends Error {
  get name() {
    return this.constructor.name;
  }
}

/** Nothing is published under this name: not the same as a key that is not there. */
export class NotPublished extends LookupTableError {}

/** The generation has another format than this reader knows. */
export class UnknownFormat extends LookupTableError {}

/** What is stored is not what was published. */
export class Damaged extends LookupTableError {}

/** The generation's time to live is over, and no newer one is published. */
export class Expired extends LookupTableError {}
