import type { Theme } from 'vitepress'
import DefaultTheme from 'vitepress/theme-without-fonts'
import { registerServiceWorker } from '../../offline.ts'
import './style.css'

export default {
  extends: DefaultTheme,
  enhanceApp: () => registerServiceWorker(),
} satisfies Theme
